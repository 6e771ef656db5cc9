"""rq-dashboard, with its faults mended on our side: its routes, pages and scripts, our views.

Nothing here is unpickled, no GET changes anything, and each dashboard keeps to the Redis it was
given: rq_dashboard's module globals are never written to. (rq-dashboard 0.9.0 also imports `six`
without declaring it, no upstream issue known: pyproject.toml does.)
"""

from typing import Any, cast

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, abort, request
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq_dashboard.web import blueprint
from starlette.types import ASGIApp

from service.api.dashboard.templates import MendedTemplates
from service.api.dashboard.views import REFUSALS, Views
from service.broker.connection import CALLERS_TIMEOUT, connect_for_callers
from service.broker.patience import Patience

RETRY_AFTER = "2"  # seconds


def dashboard(url: str) -> ASGIApp:
    """The dashboard of the Redis at this URL, to be mounted behind authentication.

    No connection is made yet. What changes state is a POST: the mounting app checks that it comes
    from the dashboard's own pages.
    """
    app = Flask("rq_dashboard")  # named so that Flask finds upstream's static files
    app.jinja_loader = MendedTemplates(app)
    app.register_blueprint(blueprint)
    # Upstream's hook here makes a new client, with a pool of its own, at each request, and by
    # redis_sentinel_url, which serves Sentinel badly (upstream issue #411; for the pools, no
    # upstream issue known).
    app.before_request_funcs[blueprint.name] = [_refuse_other_instances]
    # A client of its own, shared by all of the dashboard's requests and by nobody else.
    app.view_functions.update(
        Views(connect_for_callers(url, Patience(CALLERS_TIMEOUT))).by_endpoint()
    )
    # Upstream answers 500 to all of these (upstream pull request #520, open, for missing jobs).
    app.register_error_handler(NoSuchJobError, _no_such_job)
    for refusal in REFUSALS:
        app.register_error_handler(refusal, _refused)
    app.register_error_handler(RedisError, _redis_away)
    return cast(ASGIApp, WSGIMiddleware(cast(Any, app)))


def _refuse_other_instances() -> None:
    # Upstream's URLs choose among several Redis servers, and a request could reach the wrong one
    # (upstream issue #405). Ours has one, and its number is 0.
    if (request.view_args or {}).get("instance_number"):
        abort(404, "This dashboard shows one Redis server, number 0.")


def _no_such_job(_error: Exception) -> Response:
    return _text(404, "There is no such job: it never was, was deleted, or has expired.")


def _refused(error: Exception) -> Response:
    return _text(409, str(error) or f"RQ refuses this: {type(error).__name__}.")


def _redis_away(error: Exception) -> Response:
    response = _text(503, f"Redis can't be reached, or refuses this: {type(error).__name__}.")
    response.headers["Retry-After"] = RETRY_AFTER
    return response


def _text(status: int, text: str) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")

"""The functions behind rq-dashboard's routes, for one Redis."""

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from math import ceil
from typing import Any

from flask import Response, abort, jsonify, make_response, render_template, request, url_for
from redis import Redis
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchGroupError, NoSuchJobError
from rq.job import Job
from rq.version import VERSION as RQ_VERSION
from rq_dashboard.version import VERSION
from rq_dashboard.web import pagination_window, serialize_queues
from werkzeug.exceptions import MethodNotAllowed

from service.api.dashboard import listing, reading
from service.api.dashboard.listing import Listing
from service.broker.actions import JobActions
from service.errors import JobNotFound, StatusConflict

PER_PAGE = 8  # upstream's own default
MOST_PER_PAGE = 200  # upstream's own limit, kept by its page only
LONGEST_NUMBER = 9  # digits, so that Redis can still count to it

# Why an action leaves a job as it is.
REFUSALS = (StatusConflict, InvalidJobOperation, NoSuchGroupError, reading.JobUnreadable)

View = Callable[..., Response]


class Views:
    """They replace upstream's, which take the connection and the serializer from globals."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._actions = JobActions(connection)

    def by_endpoint(self) -> dict[str, View]:
        """All of upstream's endpoints but its icon and static files."""
        views: dict[str, View] = {
            "queues_overview": self.queues_page,
            "workers_overview": self.workers_page,
            "jobs_overview": self.jobs_page,
            "job_view": self.job_page,
            "list_queues": self.queues_data,
            "list_workers": self.workers_data,
            "list_jobs": self.jobs_data,
            "job_info": self.job_data,
            "delete_job_view": self.delete_job,
            "requeue_job_view": self.requeue_job,
            "requeue_all": self.requeue_all,
            "empty_queue": self.empty_queue,
            "compact_queue": self.compact_queue,
        }
        return {f"rq_dashboard.{endpoint}": view for endpoint, view in views.items()}

    def queues_page(self, instance_number: int) -> Response:
        return self._page("queues", "queues")

    def workers_page(self, instance_number: int) -> Response:
        return self._page("workers", "workers")

    def jobs_page(
        self,
        instance_number: int,
        queue_name: str | None,
        registry_name: str,
        per_page: int,
        order: str,
        page: int,
    ) -> Response:
        self._listing(queue_name or "default", registry_name)
        for number in (per_page, page):
            _positive(str(number))
        return self._page(
            "jobs",
            "jobs",
            queues=sorted(Queue.all(connection=self._connection)),
            queue=Queue(queue_name or "default", connection=self._connection),
            registry_name=registry_name,
            per_page=per_page,
            order=order,
            page=page,
        )

    def job_page(self, instance_number: int, job_id: str) -> Response:
        if not self._connection.exists(Job.key_for(job_id)):
            raise NoSuchJobError
        return self._page("job", None, id=job_id)

    def queues_data(self, instance_number: int) -> Response:
        rate_limited = listing.counts_by_queue(self._connection)
        queues = sorted(Queue.all(connection=self._connection))
        shown = serialize_queues(0, queues)
        for queue in shown:
            name = queue["name"]
            queue |= {
                "ready_job_registry_count": self._listing(name, "ready").count(),
                "ready_url": _jobs_url(name, "ready"),
                "rate_limited_job_registry_count": rate_limited[name],
                "rate_limited_url": _jobs_url(name, listing.RATE_LIMITED),
            }
        return _data(queues=shown)

    def workers_data(self, instance_number: int) -> Response:
        return _data(workers=reading.workers(self._connection))

    def jobs_data(
        self,
        instance_number: int,
        queue_name: str,
        registry_name: str,
        per_page: str,
        order: str,
        page: str,
    ) -> Response:
        listed = self._listing(queue_name, registry_name)
        size, number = min(_positive(per_page), MOST_PER_PAGE), _positive(page)
        ids = listed.page((number - 1) * size, size, newest_first=order == "dsc")
        return _data(
            name=queue_name,
            registry_name=registry_name,
            jobs=reading.rows(self._connection, ids),
            pagination=_pagination(listed, size, order, number),
        )

    def job_data(self, instance_number: int, job_id: str) -> Response:
        return _data(**reading.details(self._connection, job_id))

    def delete_job(self, job_id: str) -> Response:
        self._act(self._actions.delete, job_id)
        return _data(status="OK")

    def requeue_job(self, job_id: str) -> Response:
        self._act(self._actions.retry, job_id)
        return _data(status="OK")

    def requeue_all(self, queue_name: str) -> Response:
        if request.method != "POST":
            # Upstream requeues upon GET as well, as any link or preview can send it
            # (no upstream issue known).
            raise MethodNotAllowed(valid_methods=["POST"])
        requeued = 0
        for job_id in self._listing(queue_name, "failed").everything():
            # One that is gone, requeued meanwhile or unreadable must not stop the rest, as it
            # does upstream (no upstream issue known).
            with suppress(NoSuchJobError, *REFUSALS):
                self._act(self._actions.retry, job_id)
                requeued += 1
        return _data(status="OK", count=requeued)

    def empty_queue(self, queue_name: str, registry_name: str) -> Response:
        listed = self._listing(queue_name, registry_name)
        if registry_name == listing.QUEUED:
            Queue(queue_name, connection=self._connection).empty()
            return _data(status="OK")
        for job_id in listed.everything():
            try:
                self._act(self._actions.delete, job_id)
            except NoSuchJobError:
                listed.forget(job_id)
            except REFUSALS:
                continue  # it stays listed; the rest must not wait
        return _data(status="OK")

    def compact_queue(self, queue_name: str) -> Response:
        """Take out the ids of jobs that are gone.

        `Queue.compact` moves the whole queue aside and back job by job: what is not yet back is
        lost if it is cut short, and an empty queue is an error (no upstream issue known).
        """
        queue = Queue(queue_name, connection=self._connection)
        ids = self._listing(queue_name, listing.QUEUED).everything()
        with self._connection.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.exists(Job.key_for(job_id))
            for job_id, exists in zip(ids, pipe.execute(), strict=True):
                if not exists:
                    pipe.lrem(queue.key, 1, job_id)
            pipe.execute()
        return _data(status="OK")

    def _act(self, action: Callable[[str], None], job_id: str) -> None:
        """Paddock's own actions, so that a job requeued here gets all its retries again."""
        reading.load(self._connection, job_id)
        try:
            action(job_id)
        except JobNotFound as gone:
            raise NoSuchJobError from gone  # a moment ago it was there

    def _page(self, template: str, tab: str | None, **context: Any) -> Response:
        html = render_template(
            f"rq_dashboard/{template}.html",
            active_tab=tab,
            current_instance=0,
            instance_list=[_address(self._connection)],
            rq_url_prefix=url_for("rq_dashboard.queues_overview"),
            rq_dashboard_version=VERSION,
            rq_version=RQ_VERSION,
            enable_delete=True,
            **context,
        )
        return _uncached(make_response(html))

    def _listing(self, queue_name: str, registry_name: str) -> Listing:
        if registry_name not in listing.NAMES:
            # Upstream answers 500 (no upstream issue known).
            abort(HTTPStatus.NOT_FOUND, f"There is no registry {registry_name!r}.")
        return Listing(self._connection, queue_name, registry_name)


def _address(connection: Redis) -> str:
    # Read off the client rather than cut out of the URL, whose query may hold a password too
    # (upstream issue #359 mended only what stands before an @).
    given = connection.connection_pool.connection_kwargs
    if "path" in given:
        return str(given["path"])
    return f"{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db', 0)}"


def _pagination(listed: Listing, size: int, order: str, number: int) -> dict[str, Any]:
    total = listed.count()
    last = ceil(total / size)

    def link(to: int) -> dict[str, Any]:
        return {"number": to, "url": _jobs_url(listed.queue, listed.name, size, order, to)}

    pagination = {
        "current_page": number,
        "num_pages": last,
        "pages_in_window": [link(to) for to in pagination_window(total, number, size)],
        "first_page": link(1),
        "last_page": link(last),
    }
    if number > 1:
        pagination["prev_page"] = link(number - 1)
    if number < last:
        pagination["next_page"] = link(number + 1)
    return pagination


def _jobs_url(
    queue: str, registry: str, per_page: int = PER_PAGE, order: str = "asc", page: int = 1
) -> str:
    return url_for(
        "rq_dashboard.jobs_overview",
        instance_number=0,
        queue_name=queue,
        registry_name=registry,
        per_page=per_page,
        order=order,
        page=page,
    )


def _positive(number: str) -> int:
    if not number.isdecimal() or len(number) > LONGEST_NUMBER or int(number) < 1:
        abort(HTTPStatus.NOT_FOUND, "Pages and their sizes are numbers from 1 on.")
    return int(number)


def _data(**fields: Any) -> Response:
    return _uncached(jsonify(**fields))


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response

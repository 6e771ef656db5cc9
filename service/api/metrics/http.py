"""HTTP as this process answers it: how many requests, by route and status, and how soon.

Where the API runs in several processes, prometheus_client keeps what each has counted in a file of
a folder that they share (PROMETHEUS_MULTIPROC_DIR), so that any of them can tell of all.
"""

import logging
import os
from collections.abc import Iterator
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

NAME = "paddock_http_request_duration_seconds"
OTHER = "other"  #: of what comes to no route of Paddock's, and of methods that HTTP doesn't know

_REQUESTS = Histogram(
    NAME,
    "Time until an answer began, by method, route and status.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=None,
)
_METHODS = set(HTTPMethod)
_counted: dict[tuple[str, str, int], Histogram] = {}  # looking one up takes the library longer

logger = logging.getLogger("paddock.http")


def answered(scope: Scope, status: int, seconds: float) -> None:
    """Count a request whose answer begins now. What is streamed may go on for long."""
    key = scope["method"], getattr(scope.get("route"), "path", OTHER), status
    (_counted.get(key) or _counter(*key)).observe(seconds)
    level = logging.WARNING if status >= 500 else logging.DEBUG
    if logger.isEnabledFor(level):
        about = {"method": key[0], "route": key[1], "status": status, "seconds": round(seconds, 6)}
        told = key[0], scope["path"], status, seconds
        logger.log(level, "%s %s answered %d in %.3f s", *told, extra=about)


def requests() -> Iterator[Metric]:
    """What was counted, in all processes that share a folder."""
    for metric in _collected():
        if metric.name == NAME:  # the folder may be one that the user's own metrics are in as well
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


def _counter(method: str, route: str, status: int) -> Histogram:
    known = method if method in _METHODS else OTHER  # a caller may send anything
    counter = _REQUESTS.labels(known, route, str(status))
    if known is not OTHER:
        _counted[method, route, status] = counter
    return counter


def _collected() -> Iterator[Metric]:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        yield from MultiProcessCollector(CollectorRegistry()).collect()
    else:
        yield from _REQUESTS.collect()

"""What is sent, before anything is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from service.client.encoding import Parameters, encoded
from service.client.lines import Lines

KEY = "Idempotency-Key"
SILENCE = 20.0  # seconds in which a stream of events gives no sign of life; it does every 15


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `wait` is for how many seconds the service was asked to put off its answer."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Lines | None = None
    wait: float = 0.0

    @property
    def can_be_sent(self) -> bool:
        """Whether what it carries is all there."""
        return not isinstance(self.content, Lines) or self.content.can_be_sent


def get(*path: str, query: Mapping[str, str] | None = None, wait: float = 0.0) -> Request:
    """Ask for something."""
    asked = {"wait": f"{wait:.3f}"} if wait else {}
    return Request("GET", _path(*path), {**(query or {}), **asked}, wait=wait)


def follow(*path: str, last: str) -> Request:
    """Be told of events, those after the one with this id."""
    return Request("GET", _path(*path), headers={"Last-Event-ID": last}, wait=SILENCE)


def post(*path: str, query: Mapping[str, str] | None = None) -> Request:
    """Have something done."""
    return Request("POST", _path(*path), query or {})


def delete(*path: str) -> Request:
    """Have something removed."""
    return Request("DELETE", _path(*path))


def submission(
    task: str, parameters: Parameters, key: str, query: Mapping[str, str], wait: float
) -> Request:
    """Submit one job."""
    headers = {KEY: key, "Content-Type": "application/json"}
    body = encoded(parameters)
    return Request("POST", _path("tasks", task), query, headers, content=body, wait=wait)


def batch(task: str, lines: Lines, key: str, query: Mapping[str, str]) -> Request:
    """Submit many."""
    headers = {KEY: key, "Content-Type": "application/x-ndjson"}
    return Request("POST", _path("tasks", task, "batch"), query, headers, content=lines)


def given(**values: Any) -> dict[str, str]:
    """Those that are not None, as a query."""
    return {name: str(value) for name, value in values.items() if value is not None}


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)

"""The spans of an execution: its wait on the queue, and its run.

The worker makes both. It lives on when a horse is killed, and need not share with it what sends
them. The horse is told of the run's span, so that what the task itself traces becomes a part of it.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rq.utils import as_text, utcparse

from service.execution.assignment import KnownJob
from service.execution.decision import Ended
from service.execution.outcome import Kind
from service.failure import read_failure
from service.tracing.spans import SYSTEM, active_tracer, context_of, headers_of, tell_error

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

_FAULTS = (Kind.RAISED, Kind.DIED)


def begin_span(job: KnownJob, fields: Mapping[bytes, bytes], worker_name: str) -> None:
    """Begin the run's span, which `job.trace` names from here on; and note the wait before it."""
    tracer = active_tracer()
    if tracer is None:
        return
    from opentelemetry.trace import SpanKind

    context, moment = context_of(job.trace), time.time_ns()
    task = job.about.get("task", "unknown")
    about: dict[str, AnyValue] = {
        "messaging.system": SYSTEM,
        "messaging.destination.name": job.origin,
        "messaging.message.id": job.id,
        "paddock.task": task,
        "paddock.attempt": _number(fields, b"attempts"),
    }
    if job.trace and (since := _enqueued(fields)) is not None:  # else there is nothing to join
        waited = tracer.start_span(
            f"wait {task}", context, attributes=about, start_time=min(since, moment)
        )
        waited.end(moment)
    job.span = tracer.start_span(
        f"run {task}",
        context,
        kind=SpanKind.CONSUMER,
        attributes={
            **about,
            "messaging.operation.type": "process",
            "messaging.operation.name": "run",
            "paddock.worker": worker_name,
        },
        start_time=moment,
    )
    job.trace = headers_of(job.span)


def end_span(ended: Ended) -> None:
    """The execution is over."""
    span: Any = getattr(ended.job, "span", None)
    if span is None:
        return
    outcome = ended.outcome
    span.set_attribute("paddock.outcome", outcome.kind.value)
    span.set_attribute("paddock.reason", outcome.reason)
    if outcome.kind in _FAULTS:
        text = outcome.body.decode(errors="replace")
        failure = read_failure(text) if text else None
        kind, message = (failure.type, failure.message) if failure else ("died", outcome.reason)
        tell_error(span, kind, message, text or None)
    span.end()


def _enqueued(fields: Mapping[bytes, bytes]) -> int | None:
    """Nanoseconds since 1970."""
    try:
        return int(utcparse(as_text(fields[b"enqueued_at"])).timestamp() * 1e9)
    except (KeyError, ValueError):  # another program may have written anything
        return None


def _number(fields: Mapping[bytes, bytes], name: bytes) -> int:
    text = fields.get(name, b"")
    return int(text) if text.isdigit() else 0

"""Traces of OpenTelemetry: submitting, waiting and running of a job as one.

A trace is made where a program has set up OpenTelemetry, as its `opentelemetry-instrument` or the
program's own code does, or `configure_tracing` here. Nothing is imported and nothing done where
none has: all that it costs then is a look at `sys.modules`.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.errors import AlreadySubmitted
from service.submission import Submission

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

SYSTEM = "paddock"

_tracers: dict[int, "Tracer"] = {}  # by their provider, which takes long to make one


def active_tracer() -> "Tracer | None":
    """Paddock's, where this program has set up OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    found = _tracers.get(id(provider))
    if found is None:
        found = _tracers[id(provider)] = provider.get_tracer(SYSTEM)
    return found


@contextmanager
def submitting(
    tracer: "Tracer", submission: Submission, **attributes: Any
) -> Iterator[tuple["Span", Submission]]:
    """A span around a submission, which goes with the job as its trace.

    Part of what goes on in the caller's context, or of the trace that the submission brings along.
    """
    from opentelemetry.trace import SpanKind

    task = submission.task
    about = {
        "messaging.system": SYSTEM,
        "messaging.operation.type": "send",
        "messaging.operation.name": "submit",
        "messaging.destination.name": submission.queue or task.policy.queue,
        "paddock.task": task.name,
        **attributes,
    }
    with tracer.start_as_current_span(
        f"submit {task.name}",
        context=context_of(submission.trace) if submission.trace else None,
        kind=SpanKind.PRODUCER,
        attributes=about,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span, replace(submission, trace=headers_of(span))
        except AlreadySubmitted as found:
            span.set_attribute("paddock.stands_for", found.job_id)
            raise
        except Exception as error:
            tell_error(span, type(error).__qualname__, str(error))
            raise


def current_trace() -> dict[str, str]:
    """W3C's headers of what goes on now; none where nothing is traced."""
    if active_tracer() is None:
        return {}
    from opentelemetry.trace import get_current_span

    return headers_of(get_current_span())


def headers_of(span: "Span") -> dict[str, str]:
    """`traceparent`, and `tracestate` where there is one."""
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    return headers


def context_of(headers: Mapping[str, str]) -> "Context":
    """The context that these name. Of headers that can't be read it is one without a trace."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers, Context())


def tell_error(span: "Span", kind: str, message: str, traceback: str | None = None) -> None:
    """Mark it as failed, with the error as OpenTelemetry has it."""
    from opentelemetry.trace import Status, StatusCode

    told = {"exception.type": kind, "exception.message": message}
    if traceback is not None:
        told["exception.stacktrace"] = traceback
    span.set_attribute("error.type", kind)
    span.add_event("exception", told)
    span.set_status(Status(StatusCode.ERROR, message))

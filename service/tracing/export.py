"""Sending spans to where OTEL_* says, out of processes that fork.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 paddock up

A program that has set up OpenTelemetry by itself is left alone.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.errors import SettingsInvalid
from service.tracing.spans import active_tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

FAREWELL = 2.0  # seconds that a process which ends takes to send what it still has

logger = logging.getLogger("paddock.traces")


def configure_tracing(program: str) -> None:
    """Export this process's spans, and those of what it forks, where the environment asks for it.

    Raises `SettingsInvalid` where it asks for an exporter that there is not.
    """
    asked = _asked_for()
    if not asked or active_tracer() is not None:
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace import set_tracer_provider

        from service.tracing.processor import OfEachProcess
    except ImportError:
        logger.warning("OTEL_* asks for traces: pip install 'paddock[otel]' for it to be done")
        return
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create({} if named else {"service.name": f"paddock-{program}"}),
        shutdown_on_exit=False,  # which would wait for a collector that is away
    )
    for name in asked:
        provider.add_span_processor(OfEachProcess(_exporter(name)))
    set_tracer_provider(provider)
    atexit.register(flush_spans)


def flush_spans(seconds: float = FAREWELL) -> None:
    """Send what this process still has, before it ends; and end, whatever becomes of that."""
    if active_tracer() is None:
        return
    from opentelemetry.trace import get_tracer_provider

    flush: Callable[[int], Any] | None = getattr(get_tracer_provider(), "force_flush", None)
    if flush is not None:
        # The SDK does not keep to the time that it is given.
        sender = threading.Thread(target=flush, args=(int(seconds * 1000),), daemon=True)
        sender.start()
        sender.join(seconds)


def _asked_for() -> list[str]:
    """The exporters, by the names that OpenTelemetry has for them."""
    known = os.environ
    if known.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    names = known.get("OTEL_TRACES_EXPORTER", "")
    if not names and (
        known.get("OTEL_EXPORTER_OTLP_ENDPOINT") or known.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ):
        names = "otlp"
    return [each for name in names.split(",") if (each := name.strip()) not in ("", "none")]


def _exporter(name: str) -> "Callable[[], SpanExporter]":
    from importlib.metadata import entry_points

    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
        )
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = entry_points(group="opentelemetry_traces_exporter", name=name)
    if not found:
        raise SettingsInvalid(
            f"OTEL_TRACES_EXPORTER: no exporter {name!r} is installed here; "
            "`pip install 'paddock[otel]'` brings otlp (over HTTP) and console"
        )
    made: Callable[[], SpanExporter] = next(iter(found)).load()
    return made

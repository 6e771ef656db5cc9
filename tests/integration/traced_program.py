"""A program of one's own that has set up OpenTelemetry, and submits jobs within a span of its own.

python -m tests.integration.traced_program COLLECTOR
"""

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from service.adapters.jobs import Jobs
from tests.sample_tasks import echo


async def submit() -> None:
    await Jobs().submit(echo, value=1)


if __name__ == "__main__":
    provider = TracerProvider(resource=Resource.create({"service.name": "acme"}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{sys.argv[1]}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with trace.get_tracer("acme").start_as_current_span("my request"):
        asyncio.run(submit())
        echo.delay(value=2)

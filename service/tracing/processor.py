"""OpenTelemetry's batches of spans, sent by each process over connections of its own."""

import os
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter


class OfEachProcess(SpanProcessor):
    """A batch processor for each process, begun by the first span that ends there.

    What a fork inherits is of no use: the exporter's connections are its parent's as well, and two
    who write to one of them garble what both send.
    """

    def __init__(self, new_exporter: Callable[[], SpanExporter]) -> None:
        self._new_exporter = new_exporter
        self._batches: BatchSpanProcessor | None = None
        self._pid = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is sent of a span that goes on."""

    def on_end(self, span: ReadableSpan) -> None:
        if self._pid != os.getpid():
            self._batches, self._pid = BatchSpanProcessor(self._new_exporter()), os.getpid()
        assert self._batches is not None
        self._batches.on_end(span)

    def shutdown(self) -> None:
        if batches := self._here():
            batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        batches = self._here()
        return batches.force_flush(timeout_millis) if batches else True

    def _here(self) -> BatchSpanProcessor | None:
        return self._batches if self._pid == os.getpid() else None

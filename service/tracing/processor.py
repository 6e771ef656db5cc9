"""OpenTelemetry's batches of spans, sent by each process over connections of its own."""

import os
import threading
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
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is sent of a span that goes on."""

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:  # spans of several threads may be a process's first
            if self._batches is None:
                self._batches = BatchSpanProcessor(self._new_exporter())
        self._batches.on_end(span)

    def shutdown(self) -> None:
        if self._batches:
            self._batches.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis) if self._batches else True

    def _forget(self) -> None:
        """What a fork inherits, the lock included: who held it is not there."""
        self._batches, self._lock = None, threading.Lock()

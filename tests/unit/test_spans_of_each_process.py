"""The batches of spans that a process sends, whichever of its threads has ended them."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.tracing.processor import OfEachProcess

Batches = tuple[TracerProvider, list[InMemorySpanExporter]]


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = list[InMemorySpanExporter]()

    def slowly() -> InMemorySpanExporter:
        time.sleep(0.05)  # in which others end a span, too
        made.append(InMemorySpanExporter())
        return made[-1]

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(OfEachProcess(slowly))
    yield provider, made
    provider.shutdown()


def span(provider: TracerProvider, name: str) -> None:
    provider.get_tracer("tests").start_span(name).end()


def test_the_first_spans_of_several_threads_are_sent_together(batches: Batches) -> None:
    provider, made = batches
    together = threading.Barrier(8)

    def first(number: int) -> None:
        together.wait()
        span(provider, f"first {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(first, range(8)))
    provider.force_flush()
    (exporter,) = made
    assert len(exporter.get_finished_spans()) == 8

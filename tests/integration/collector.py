"""A collector of OpenTelemetry's: takes spans over HTTP, and shows them."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import eventually


@dataclass(frozen=True)
class Span:
    """As it was sent."""

    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    failed: bool


@dataclass
class Collector:
    """What has arrived."""

    port: int
    spans: list[Span] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to send theirs here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def named(self, name: str, count: int = 1) -> list[Span]:
        """Those of this name, by their beginnings, once there are so many."""
        eventually(lambda: len(self._named(name)) >= count)
        return self._named(name)

    def _named(self, name: str) -> list[Span]:
        return sorted((s for s in self.spans if s.name == name), key=lambda span: span.began)


@contextlib.contextmanager
def a_collector() -> Iterator[Collector]:
    """One, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.spans.extend(_read(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing is to be said of each."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


def _read(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Span(
                service=service,
                name=span.name,
                kind=type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                trace_id=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                began=span.start_time_unix_nano,
                ended=span.end_time_unix_nano,
                attributes=_values(span.attributes),
                events=[{"name": e.name, **_values(e.attributes)} for e in span.events],
                failed=span.status.code == 2,
            )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}

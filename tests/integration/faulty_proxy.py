"""Stands between a client and the service, and does to requests what networks do to them."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx

from tests.integration.serving import TIMEOUT


@dataclass(frozen=True)
class Answer:
    """It answers by itself; the service hears nothing."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Lose:
    """It passes the request on, and hangs up before the answer's end."""

    after: int = 0  #: bytes of the answer's body that still come through


@dataclass(frozen=True)
class HangUp:
    """It hangs up, and passes nothing on."""


@dataclass(frozen=True)
class Stall:
    """It passes the request on, and keeps the answer to itself for a while."""

    seconds: float


Fault = Answer | Lose | HangUp | Stall


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float


class FaultyProxy:
    """What is in `faults` happens to the next requests, one after another; then all goes well."""

    def __init__(self, target: str, port: int = 0) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._target = target
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._take(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = _body(handler)
        with self._lock:
            fault = self.faults.pop(0) if self.faults else None
            self.seen.append(
                Seen(handler.command, handler.path, headers, body, at=time.monotonic())
            )
        match fault:
            case HangUp():
                handler.close_connection = True
                return
            case Answer(status, extra, told):
                _answer(handler, status, extra, told)
                return
        passed = httpx.request(
            handler.command,
            self._target + handler.path,
            headers={name: headers[name] for name in _PASSED_ON if name in headers},
            content=body,
            timeout=TIMEOUT,
        )
        kept = {name: passed.headers[name] for name in _PASSED_BACK if name in passed.headers}
        match fault:
            case Stall(seconds):
                time.sleep(seconds)
            case Lose(after):
                handler.close_connection = True
                if after:
                    _answer(handler, passed.status_code, kept, passed.content, upto=after)
                return
        _answer(handler, passed.status_code, kept, passed.content)


_PASSED_ON = ("content-type", "idempotency-key", "authorization")
_PASSED_BACK = ("content-type", "retry-after", "idempotency-replayed")


def _answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    upto: int | None = None,
) -> None:
    try:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:upto])
    except OSError:
        handler.close_connection = True  # the client had enough of waiting


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if length := handler.headers.get("Content-Length"):
        return handler.rfile.read(int(length))
    body = b""
    if handler.headers.get("Transfer-Encoding") == "chunked":
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
    return body

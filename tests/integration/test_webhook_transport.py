"""What a receiver can't do to the worker that speaks to it: lead it on, hold it up, fill it."""

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from service.webhooks import delivery, transport
from service.webhooks.addresses import Allowed
from service.webhooks.delivery import ReceiverGone, Undelivered, deliver_webhook
from service.webhooks.target import Target, TargetRefused, parse_target
from service.webhooks.transport import Unanswered, post
from tests.integration.receiver import Answer, Receiver

SECONDS = 1.0  # that a delivery may take which is to be cut
AMPLE = 15.0  # that others may take, on a machine that is busy
HANG = 20.0  # seconds; only that it ends at all
HERE = Allowed.parse(["127.0.0.0/8", "::1", "localhost"])

Receive = Callable[..., Receiver]


@pytest.fixture
def receive() -> Iterator[Receive]:
    opened: list[Receiver] = []

    def open_one(*answers: Answer, **options: Any) -> Receiver:
        opened.append(Receiver(*answers, **options))
        return opened[-1]

    yield open_one
    for receiver in opened:
        receiver.close()


def sent(
    url: str, addresses: list[str] | None = None, body: bytes = b"{}", seconds: float = AMPLE
) -> int:
    target = parse_target(url, HERE)
    return post(target, addresses or ["127.0.0.1"], {"X-Test": "yes"}, body, seconds)


def writing(*parts: bytes, pause: float = 0, forever: bytes = b"") -> Answer:
    """An answer of just these bytes, then of the last ones again and again."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
        while forever:
            handler.wfile.write(forever)
            time.sleep(pause)
        handler.close_connection = True

    return respond


def test_the_request_is_an_ordinary_one(receive: Receive) -> None:
    receiver = receive(202)
    assert sent(receiver.url, body=b'{"a":1}') == 202
    (request,) = receiver.received
    assert (request.path, request.body) == ("/hook?from=paddock", b'{"a":1}')
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["x-test"] == "yes" and request.headers["connection"] == "close"


def test_proxies_of_the_environment_are_not_asked(
    receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert sent(receive(200).url) == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(receive: Receive, status: int) -> None:
    inside = receive(200)
    moved = writing(
        b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
        % (status, inside.url.encode())
    )
    assert sent(receive(moved).url) == status
    assert inside.received == []


HEAD = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Answer] = {
    "silence": lambda _: time.sleep(HANG),
    "headers by drips": writing(HEAD, pause=0.05, forever=b"X"),
    "headers without end": writing(HEAD, forever=b"X-Header: x\r\n"),
    "one header without end": writing(HEAD + b"X: ", forever=b"x" * 4096),
    "interim answers without end": writing(forever=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status line without end": writing(forever=b"HTTP/1.1 200 " + b"x" * 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_that_never_begins_is_cut(receive: Receive, name: str) -> None:
    started = time.monotonic()
    with pytest.raises(Unanswered):
        sent(receive(ENDLESS[name]).url, seconds=SECONDS)
    assert time.monotonic() - started < HANG


@pytest.mark.parametrize(
    "body",
    [
        writing(HEAD + b"\r\n", forever=b"x" * 65536),
        writing(HEAD + b"\r\n", pause=0.05, forever=b"x"),
        writing(HEAD + b"Content-Length: 99999999999\r\n\r\n", forever=b"x" * 65536),
        writing(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", forever=b"1000\r\n" + b"x" * 4096),
        writing(HEAD + b"Content-Length: 1000\r\n\r\ntoo little"),
    ],
    ids=["endless", "dripping", "huge", "badly chunked", "truncated"],
)
def test_of_a_body_only_the_beginning_is_read_and_the_status_counts(
    receive: Receive, body: Answer
) -> None:
    started = time.monotonic()
    assert sent(receive(body).url, seconds=4 * SECONDS) == 200
    assert time.monotonic() - started < HANG


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 abc\r\n\r\n", b"-ERR unknown\r\n"],
)
def test_what_is_no_http_is_no_answer(receive: Receive, garbage: bytes) -> None:
    with pytest.raises(Unanswered):
        sent(receive(writing(garbage)).url)


def test_the_next_address_is_tried_where_one_refuses(receive: Receive) -> None:
    receiver = receive(200)
    assert sent(receiver.url, ["127.0.0.2", "127.0.0.1"]) == 200  # nobody listens on .2
    with pytest.raises(Unanswered, match="ConnectionRefusedError"):
        sent(receiver.url, ["127.0.0.2", "127.0.0.3"])


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For hooks.example.com, signed by itself; the key is in the same file."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.example.com "
        f"-addext subjectAltName=DNS:hooks.example.com -keyout {path}.key -out {path}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.key").read_bytes())
    return path


@pytest.fixture
def tls_receiver(receive: Receive, certificate: Path) -> Receiver:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return receive(200, tls=context)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    transport._tls.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield
    transport._tls.cache_clear()


def to(receiver: Receiver, host: str) -> Target:
    return Target("https", host, receiver.port, "/")


@pytest.mark.usefixtures("trusted")
def test_the_certificate_is_held_against_the_hosts_name_not_the_address(
    tls_receiver: Receiver,
) -> None:
    assert post(to(tls_receiver, "hooks.example.com"), ["127.0.0.1"], {}, b"{}", AMPLE) == 200
    assert tls_receiver.received[0].headers["host"] == f"hooks.example.com:{tls_receiver.port}"
    with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
        post(to(tls_receiver, "other.example.com"), ["127.0.0.1"], {}, b"{}", AMPLE)


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_receiver: Receiver) -> None:
    transport._tls.cache_clear()
    with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
        post(to(tls_receiver, "hooks.example.com"), ["127.0.0.1"], {}, b"{}", AMPLE)
    assert tls_receiver.received == []


# The task


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env here
    monkeypatch.setenv("PADDOCK_WEBHOOK_SECRET", "whsec_" + "A" * 43 + "=")
    monkeypatch.setenv("PADDOCK_WEBHOOK_ALLOW", "127.0.0.0/8")
    monkeypatch.setattr(delivery, "TIMEOUT", AMPLE)


def delivered(url: str) -> int:
    return deliver_webhook("job-webhook-1", url, '{"type":"job.finished","data":{"id":"job"}}')


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_success_is_a_delivery(receive: Receive, status: int) -> None:
    assert delivered(receive(status).url) == status


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
def test_any_other_answer_is_tried_again(receive: Receive, status: int) -> None:
    with pytest.raises(Undelivered, match=f"127.0.0.1 answered {status}") as undelivered:
        delivered(receive(status).url)
    assert deliver_webhook.policy.retries(undelivered.value)


def test_a_receiver_that_is_gone_is_left_alone(receive: Receive) -> None:
    with pytest.raises(ReceiverGone) as gone:
        delivered(receive(410).url)
    assert not deliver_webhook.policy.retries(gone.value)


def test_a_refused_address_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetRefused) as refused:
        delivered("http://169.254.169.254/")
    assert not deliver_webhook.policy.retries(refused.value)


def test_a_name_that_does_not_resolve_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Undelivered, match="not known") as undelivered:
        delivered("http://hooks.example.com/")
    assert deliver_webhook.policy.retries(undelivered.value)


def test_a_worker_without_a_secret_sends_nothing_and_waits_for_one(
    receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PADDOCK_WEBHOOK_SECRET")
    receiver = receive(200)
    with pytest.raises(Undelivered, match="PADDOCK_WEBHOOK_SECRET") as undelivered:
        delivered(receiver.url)
    assert deliver_webhook.policy.retries(undelivered.value) and receiver.received == []


def test_a_name_that_resolves_elsewhere_a_moment_later_leads_nowhere_else(
    receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is looked at, inside when it is connected to."""
    inside = receive(200)
    asked: list[str] = []
    dialled: list[str] = []

    def rebind(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def dial(address: tuple[str, int], *_: Any) -> socket.socket:
        dialled.append(address[0])
        raise ConnectionRefusedError("not from here")

    monkeypatch.delenv("PADDOCK_WEBHOOK_ALLOW")
    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    monkeypatch.setattr(socket, "create_connection", dial)
    with pytest.raises(Undelivered):
        delivered(f"http://rebinding.example.com:{inside.port}/")
    assert (asked, dialled) == (["rebinding.example.com"], ["8.8.8.8"])
    with pytest.raises(TargetRefused, match=r"resolves to 127\.0\.0\.1, which is loopback"):
        delivered(f"http://rebinding.example.com:{inside.port}/")
    assert dialled == ["8.8.8.8"] and inside.received == []


def test_every_attempt_sends_the_same_bytes_and_id(receive: Receive) -> None:
    receiver = receive(500, 204)
    with contextlib.suppress(Undelivered):
        delivered(receiver.url)
    delivered(receiver.url)
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "job-webhook-1"

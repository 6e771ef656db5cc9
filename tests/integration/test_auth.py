"""Who gets in: callers with a key; browsers, unless another site sent them."""

import base64
import gc
import hmac
import secrets
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings

KEYS = ("first-key-of-many-letters", "clé-numéro-deux-élégante")
OPEN = ("/health/live", "/health/ready")

MakeClient = Callable[..., TestClient]


@pytest.fixture
def client_for(settings: Settings, catalogue: Catalogue) -> Iterator[MakeClient]:
    """A client of an API with these keys."""
    opened: list[TestClient] = []

    def make(*keys: str, base_url: str = "http://paddock.example", **more: Any) -> TestClient:
        guarded = Settings(
            **(settings.model_dump() | {"api_keys": keys, "redis_url": settings.redis_url} | more)
        )
        client = TestClient(
            create_app(guarded, catalogue), base_url=base_url, follow_redirects=False
        )
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__()


def bearer(key: str) -> dict[str, bytes]:
    return {"Authorization": f"Bearer {key}".encode()}


def x_api_key(key: str) -> dict[str, bytes]:
    return {"X-API-Key": key.encode()}


def basic(key: str, user: str = "anybody") -> dict[str, bytes]:
    return {"Authorization": b"Basic " + base64.b64encode(f"{user}:{key}".encode())}


def basic_user(key: str) -> dict[str, bytes]:
    return basic("", user=key)


WAYS = [bearer, x_api_key, basic, basic_user]


@pytest.mark.parametrize("show", WAYS)
@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_in_each_way(
    client_for: MakeClient, show: Callable[[str], dict[str, bytes]], key: str
) -> None:
    client = client_for(*KEYS)
    assert client.get("/tasks", headers=show(key)).status_code == 200
    assert client.post("/tasks/echo", json={}, headers=show(key)).status_code == 202
    assert client.get("/dashboard/", headers=show(key)).status_code == 200


@pytest.mark.parametrize("show", WAYS)
@pytest.mark.parametrize(
    "key", ["", KEYS[0][:-1], KEYS[0] + "x", KEYS[0].upper(), ",".join(KEYS), "\N{SNOWMAN}"]
)
def test_anything_else_does_not(
    client_for: MakeClient, show: Callable[[str], dict[str, bytes]], key: str
) -> None:
    answer = client_for(*KEYS).get("/tasks", headers=show(key))
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:paddock:problem:key-missing")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEYS[0]},
        {"Authorization": f"Token {KEYS[0]}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": b"Basic \xff\xfe"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
        {"Cookie": f"key={KEYS[0]}"},
        x_api_key("wrong") | bearer(KEYS[0]),  # what is shown first has to be right
    ],
)
def test_a_key_shown_in_no_known_way_is_none(
    client_for: MakeClient, headers: dict[str, Any]
) -> None:
    client = client_for(*KEYS)
    assert client.get("/tasks", headers=headers).status_code == 401
    assert client.get("/tasks", params={"key": KEYS[0]}, headers=headers).status_code == 401


def test_every_key_is_compared_in_constant_time_whichever_fits(
    client_for: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    client = client_for(*KEYS)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key in (*KEYS, "a wrong one"):
        compared.clear()
        client.get("/tasks", headers=bearer(key))
        assert len(compared) == len(KEYS)
        assert {len(side) for pair in compared for side in pair} == {32}  # hashes only


def test_the_running_service_holds_its_keys_as_hashes_only(client_for: MakeClient) -> None:
    key = secrets.token_hex(16)
    client = client_for(key)
    for show in WAYS:
        assert client.get("/tasks", headers=show(key)).status_code == 200
    found = [each for each in reachable(client.app) if isinstance(each, str | bytes)]
    assert len(found) > 1000  # it did look around
    assert [text for text in found if holds(text, key)] == []


def holds(text: str | bytes, key: str) -> bool:
    return key in text if isinstance(text, str) else key.encode() in text


def reachable(root: object) -> Iterator[object]:
    """All that an object holds; modules, and pydantic's `SecretStr` of Settings, left out."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type | types.ModuleType | SecretStr):
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, types.FunctionType):
            todo += [each.__closure__, each.__defaults__, each.__kwdefaults__]  # not its globals
        else:
            todo += gc.get_referents(each)


def test_only_the_health_checks_are_open(client_for: MakeClient) -> None:
    client = client_for(*KEYS)
    document = client.get("/openapi.json", headers=bearer(KEYS[0])).json()
    routes = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, operations in document["paths"].items()
        for method in operations
    ]
    routes += [("GET", path) for path in ("/", "/docs", "/redoc", "/openapi.json", "/dashboard/")]
    answered = {path for method, path in routes if client.request(method, path).status_code != 401}
    assert answered == set(OPEN)
    assert len(routes) > 25


@pytest.mark.parametrize(
    "path",
    [
        "/health/live/",
        "//health/live",
        "/health/live/x",
        "/health/live%2F..%2F..%2Ftasks",
        "/HEALTH/LIVE",
        "/health",
        "/tasks?/health/live",
        "/tasks;/health/live",
    ],
)
def test_a_path_that_looks_like_an_open_one_is_not(client_for: MakeClient, path: str) -> None:
    assert client_for(*KEYS).get(path).status_code == 401


def test_a_person_is_asked_for_the_key_by_the_browser_and_a_program_is_not(
    client_for: MakeClient,
) -> None:
    client = client_for(*KEYS)
    person = client.get("/dashboard/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert person.headers["WWW-Authenticate"] == 'Basic realm="Paddock", charset="UTF-8"'
    program = client.get("/tasks", headers={"Accept": "application/json"})
    assert program.headers["WWW-Authenticate"] == "Bearer"


# Browsers

ALLOWED, REFUSED = 202, 403
SENT_BY = {
    "a program": ({}, ALLOWED),
    "its own page": ({"Origin": "{self}"}, ALLOWED),
    "its own page, a modern browser": (
        {"Origin": "{self}", "Sec-Fetch-Site": "same-origin"},
        ALLOWED,
    ),
    "the address bar": ({"Sec-Fetch-Site": "none"}, ALLOWED),
    "another site": ({"Origin": "https://evil.example"}, REFUSED),
    "another site, a modern browser": ({"Sec-Fetch-Site": "cross-site"}, REFUSED),
    "another subdomain": ({"Sec-Fetch-Site": "same-site"}, REFUSED),
    "another port": ({"Origin": "{self}:81"}, REFUSED),
    "a longer name": ({"Origin": "{self}.evil.example"}, REFUSED),
    "a sandboxed frame": ({"Origin": "null"}, REFUSED),
    "nonsense": ({"Origin": "http://["}, REFUSED),
    "nothing": ({"Origin": ""}, REFUSED),
}


def post_as(client: TestClient, sender: str, more: dict[str, Any]) -> int:
    headers, _ = SENT_BY[sender]
    own = str(client.base_url).rstrip("/")
    filled = {name: value.replace("{self}", own) for name, value in headers.items()}
    return client.post("/tasks/echo", json={}, headers=filled | more).status_code


@pytest.mark.parametrize("sender", SENT_BY)
def test_without_keys_only_programs_and_own_pages_change_anything(
    client_for: MakeClient, sender: str
) -> None:
    client = client_for(base_url="http://127.0.0.1:8000")
    assert post_as(client, sender, {}) == SENT_BY[sender][1]


@pytest.mark.parametrize("sender", SENT_BY)
def test_a_key_that_the_browser_adds_by_itself_is_not_the_callers_will(
    client_for: MakeClient, sender: str
) -> None:
    assert post_as(client_for(*KEYS), sender, basic(KEYS[0])) == SENT_BY[sender][1]


@pytest.mark.parametrize("sender", SENT_BY)
@pytest.mark.parametrize("show", [bearer, x_api_key])
def test_a_key_that_a_page_has_to_know_is(
    client_for: MakeClient, sender: str, show: Callable[[str], dict[str, bytes]]
) -> None:
    assert post_as(client_for(*KEYS), sender, show(KEYS[0])) == ALLOWED


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_method_that_changes_anything_is_taken_from_another_site(
    client_for: MakeClient, method: str
) -> None:
    client = client_for(*KEYS)
    headers = basic(KEYS[0]) | {"Sec-Fetch-Site": b"cross-site"}
    for path in ("/jobs/x", "/dashboard/0/data/jobs/x/delete", "/nowhere"):
        assert client.request(method, path, headers=headers).status_code == REFUSED
    assert client.get("/tasks", headers=headers).status_code == 200


# Names, where no key protects


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("paddock.internal", 200),
        ("Paddock.Internal:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_without_keys_the_service_answers_to_known_names_only(
    client_for: MakeClient, host: str, status: int
) -> None:
    client = client_for(allowed_hosts="Paddock.internal")
    for path in ("/tasks", "/health/live"):
        assert client.get(path, headers={"Host": host}).status_code == status


def test_with_keys_it_answers_to_any_name(client_for: MakeClient) -> None:
    client = client_for(*KEYS)
    headers = bearer(KEYS[0]) | {"Host": b"anything.example"}
    assert client.get("/tasks", headers=headers).status_code == 200


def test_nothing_of_the_service_is_shown_in_another_sites_frame(client_for: MakeClient) -> None:
    client = client_for(*KEYS)
    for path in ("/tasks", "/dashboard/", "/docs", "/nowhere"):
        for headers in (bearer(KEYS[0]), {}):
            answer = client.get(path, headers=headers)
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_document_names_the_ways_to_show_a_key(client_for: MakeClient) -> None:
    app = client_for(*KEYS).app
    assert isinstance(app, FastAPI)
    schemes = app.openapi()["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme")) for scheme in schemes.values()} == {
        ("http", "bearer"),
        ("http", "basic"),
        ("apiKey", None),
    }

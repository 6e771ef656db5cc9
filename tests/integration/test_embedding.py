"""Paddock in an application of the user's own: as a router under any prefix, or mounted."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from fastapi import APIRouter, Depends, FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api import create_app, paddock_router
from service.broker.broker import Broker
from service.settings import Settings
from tests.conftest import ROOT, TASKS, RedisServer
from tests.integration.by_hand import ByHand
from tests.integration.own_app import KEY, client_of, logged_in, users_app, with_key

PROBLEM = "application/problem+json"
PREFIXES = ("", "/work", "/a/b")
OPEN = ("/health/live", "/health/ready")


@pytest.fixture
def router(settings: Settings, catalogue: Catalogue) -> APIRouter:
    return paddock_router(settings, catalogue)


@pytest.fixture
def client(router: APIRouter) -> Iterator[TestClient]:
    """Of an application with Paddock's routes under /work."""
    with client_of(users_app([("/work", router)])) as opened:
        yield opened


# Routes


@pytest.mark.parametrize("prefix", PREFIXES)
def test_all_routes_work_under_any_prefix_and_their_links_stay_below_it(
    router: APIRouter, connection: redis.Redis, prefix: str
) -> None:
    with client_of(users_app([(prefix, router)])) as client:
        submitted = client.post(f"{prefix}/tasks/echo", json={"value": 1})
        job = f"{prefix}/jobs/{submitted.json()['id']}"
        assert (submitted.status_code, submitted.headers["Location"]) == (202, job)
        assert client.get(job).json()["parameters"] == {"value": 1}
        assert ByHand(connection, "default").fail_one() == submitted.json()["id"]
        assert client.post(f"{job}/retry").headers["Location"] == job
        assert len(client.get(f"{job}/executions").json()) == 1
        assert len(client.get(f"{prefix}/jobs").json()["jobs"]) == 1

        many = client.post(f"{prefix}/tasks/echo/batch", json=[{"value": 1}, {"value": 2}])
        batch = f"{prefix}/batches/{many.json()['id']}"
        assert (many.status_code, many.headers["Location"]) == (202, batch)
        assert client.get(batch).json()["total"] == 2
        assert client.post(f"{batch}/cancel").json()["canceled"] == 2

        schedule = {"name": "daily", "task": "echo", "cron": "0 3 * * *"}
        posted = client.post(f"{prefix}/schedules", json=schedule)
        assert posted.headers["Location"] == f"{prefix}/schedules/daily"
        assert client.get(posted.headers["Location"]).json()["task"] == "echo"
        assert client.delete(posted.headers["Location"]).status_code == 204

        for path in ("/tasks", "/tasks/echo", "/queues", "/queues/cpu", "/workers", *OPEN):
            assert client.get(f"{prefix}{path}").status_code == 200, path
        wrong = client.post(f"{prefix}/tasks/describe", json={})
        assert f"GET {prefix}/tasks/describe shows" in wrong.json()["detail"]
        assert client.put(job).headers["Allow"] == "DELETE, GET"
        assert client.post("/orders", json={"zip_code": 1}).json() == {"zip_code": 1}


def test_routers_may_stand_in_routers(router: APIRouter) -> None:
    version = APIRouter(prefix="/v1")
    version.include_router(router, prefix="/work")
    with client_of(users_app([("/api", version)])) as client:
        submitted = client.post("/api/v1/work/tasks/echo", json={})
        assert submitted.headers["Location"] == f"/api/v1/work/jobs/{submitted.json()['id']}"
        assert client.get(submitted.headers["Location"]).status_code == 200


def test_a_prefix_with_a_parameter_is_filled_in(router: APIRouter) -> None:
    def tenant(tenant: str) -> None: ...

    app = FastAPI()
    app.include_router(router, prefix="/{tenant}/work", dependencies=[Depends(tenant)])
    OpenAPIV31SpecValidator(app.openapi()).validate()
    with client_of(app) as client:
        submitted = client.post("/caf%C3%A9%20one/work/tasks/echo", json={})
        location = f"/caf%C3%A9%20one/work/jobs/{submitted.json()['id']}"
        assert submitted.headers["Location"] == location
        assert client.get(location).json()["id"] == submitted.json()["id"]


@pytest.mark.parametrize("is_stripped", [False, True])
def test_behind_a_proxy_links_name_the_path_that_the_proxy_takes(
    router: APIRouter, is_stripped: bool
) -> None:
    """Servers put the root path before each path, as ASGI has it; some proxies strip it off."""
    app = users_app([("/work", router)])

    async def told_its_root(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"] = "/api"
        await app(scope, receive, send)

    with client_of(told_its_root) as client:
        base = "" if is_stripped else "/api"
        submitted = client.post(f"{base}/work/tasks/echo", json={})
        assert submitted.headers["Location"] == f"/api/work/jobs/{submitted.json()['id']}"
        assert client.get(f"{base}/work/health/live").status_code == 200


def test_two_routers_keep_apart_what_is_theirs(
    settings: Settings, catalogue: Catalogue, own: RedisServer
) -> None:
    other = with_key(settings).model_copy(
        update={"redis_url": Settings(redis_url=own.url).redis_url, "max_body": 2_000_000}
    )
    app = users_app(
        [("/a", paddock_router(settings, catalogue)), ("/b", paddock_router(other, catalogue))]
    )
    large, key = {"value": "x" * 1_500_000}, {"X-API-Key": KEY}
    with client_of(app) as client:
        assert client.post("/b/tasks/echo", json={}).status_code == 401
        assert client.post("/a/tasks/echo", json=large).status_code == 413
        assert client.post("/b/tasks/echo", json=large, headers=key).status_code == 202
        job = client.post("/a/tasks/echo", json={}).json()["id"]
        assert client.get(f"/a/jobs/{job}").status_code == 200
        assert client.get(f"/b/jobs/{job}", headers=key).status_code == 404
        assert len(client.get("/b/jobs", headers=key).json()["jobs"]) == 1


def test_the_dashboard_is_there_where_it_was_asked_for(
    client: TestClient, settings: Settings, catalogue: Catalogue
) -> None:
    assert client.get("/work/dashboard/").status_code == 404
    router = paddock_router(with_key(settings), catalogue, dashboard=True)
    with client_of(users_app([("/work", router)])) as other:
        assert other.get("/work/dashboard/").status_code == 401
        page = other.get("/work/dashboard/", headers={"X-API-Key": KEY})
        assert page.status_code == 200
        assert leads_only_below("/work/dashboard/", page.text)
        data = other.get("/work/dashboard/0/data/queues.json", headers={"X-API-Key": KEY})
        assert data.json()["queues"] == []


def leads_only_below(path: str, page: str) -> bool:
    links = re.findall(r'(?:href|src)="(/[^"]*)"', page)
    return len(links) > 3 and all(link.startswith(path) for link in links)


# Documents


@pytest.fixture
def more_tasks() -> Catalogue:
    """With models of the same names as others have."""
    return Catalogue.load((*TASKS, "tests.sample_api_tasks"))


@pytest.mark.parametrize("separately", [True, False])
def test_the_applications_own_document_has_all_of_it_and_is_valid(
    settings: Settings, catalogue: Catalogue, more_tasks: Catalogue, separately: bool
) -> None:
    routers = [
        ("/work", paddock_router(settings, more_tasks)),
        ("/other", paddock_router(with_key(settings), catalogue)),
        ("", paddock_router(settings, more_tasks)),
    ]
    plain = users_app(separate_input_output_schemas=separately).openapi()
    document = users_app(routers, separate_input_output_schemas=separately).openapi()
    OpenAPIV31SpecValidator(document).validate()
    for path, operations in plain["paths"].items():
        assert document["paths"][path] == operations
    for name, schema in plain["components"]["schemas"].items():
        assert document["components"]["schemas"][name] == schema
    for prefix, tasks in (("/work", more_tasks), ("/other", catalogue), ("", more_tasks)):
        ours = create_app(settings, tasks).openapi()["paths"]
        assert {f"{prefix}{path}" for path in ours} <= set(document["paths"])
        for task in tasks:
            content = document["paths"][f"{prefix}/tasks/{task.name}"]["post"]["requestBody"]
            for body in content["content"].values():
                properties = resolve(document, body["schema"])["properties"]
                assert set(properties) == set(task.parameters.names)
    ids = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))
    assert {"submit_echo", "work_submit_echo", "other_submit_batch_echo"} <= set(ids)


def test_what_tasks_of_the_same_name_take_is_told_apart(
    settings: Settings, catalogue: Catalogue
) -> None:
    other = Catalogue.load(["tests.sample_same_name"])
    routers = [
        ("/one", paddock_router(settings, catalogue)),
        ("/other", paddock_router(settings, other)),
    ]
    document = users_app(routers).openapi()
    OpenAPIV31SpecValidator(document).validate()
    for path, taken in (("/one/tasks/echo", "value"), ("/other/tasks/echo", "times")):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        schema = resolve(document, content["application/json"]["schema"])
        assert list(schema["properties"]) == [taken]


def test_keys_are_documented_for_the_routes_that_ask_for_one(
    settings: Settings, catalogue: Catalogue
) -> None:
    router = paddock_router(with_key(settings), catalogue)
    document = users_app([("/work", router)]).openapi()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            asks = path.startswith("/work/") and not path.endswith(OPEN)
            assert [list(way)[0] for way in operation.get("security", ())] == (
                list(schemes) if asks else []
            )
    open_document = users_app([("/work", paddock_router(settings, catalogue))]).openapi()
    assert "securitySchemes" not in open_document["components"]


def test_no_route_of_paddocks_is_said_to_answer_errors_as_fastapi_does(router: APIRouter) -> None:
    document = users_app([("/work", router)]).openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            kinds = {
                kind
                for status, answer in operation["responses"].items()
                if not status.startswith("2")
                for kind in answer["content"]
            }
            assert kinds == ({PROBLEM} if path.startswith("/work") else {"application/json"})


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" not in schema:
        return schema
    return document["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]


# The gate


def routes_below(app: FastAPI, prefix: str) -> list[tuple[str, str]]:
    return [
        (method.upper(), re.sub("[{}]", "", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith(f"{prefix}/") and "/orders" not in path
    ]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_key_is_asked_for_at_paddocks_routes_and_at_no_others(
    settings: Settings, catalogue: Catalogue, prefix: str
) -> None:
    app = users_app([(prefix, paddock_router(with_key(settings), catalogue))])
    routes = routes_below(app, prefix)
    assert len(routes) > 25
    with client_of(app) as client:
        refused = {
            path for method, path in routes if client.request(method, path).status_code == 401
        }
        assert {path for _, path in routes} - refused == {f"{prefix}{path}" for path in OPEN}
        assert client.post(f"{prefix}/tasks/none").status_code == 401
        for show in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert client.post(f"{prefix}/tasks/echo", headers=show).status_code == 202
        assert client.post("/orders", json={"zip_code": 1}).status_code == 200
        assert client.get("/openapi.json").status_code == 200


def test_a_router_that_is_mounted_as_an_application_is_guarded_as_well(
    settings: Settings, catalogue: Catalogue
) -> None:
    app = FastAPI()
    app.mount("/work", paddock_router(with_key(settings), catalogue))
    client = client_of(app)
    assert client.get("/work/tasks").status_code == 401
    assert client.get("/work/nowhere").status_code == 401
    assert client.get("/work/health/ready").status_code == 200
    submitted = client.post("/work/tasks/echo", headers={"X-API-Key": KEY})
    assert submitted.headers["Location"] == f"/work/jobs/{submitted.json()['id']}"


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"Host": "evil.example"}, "does not go by the name 'evil.example'"),
        ({"Origin": "http://evil.example"}, "comes from another site's page"),
        ({"Sec-Fetch-Site": "cross-site"}, "comes from another site's page"),
    ],
)
def test_strangers_are_refused_at_paddocks_routes_and_at_no_others(
    client: TestClient, headers: dict[str, str], detail: str
) -> None:
    refused = client.post("/work/tasks/echo", json={}, headers=headers)
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, PROBLEM)
    assert detail in refused.json()["detail"]
    assert client.post("/orders", json={"zip_code": 1}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 202),
        ("[::1]", 202),
        ("[::ffff:127.0.0.1]", 202),
        ("192.0.2.1", 403),
        ("[2001:db8::1]", 403),
        ("[::ffff:192.0.2.1]", 403),
    ],
)
@pytest.mark.parametrize("is_mounted", [False, True])
def test_without_keys_who_comes_from_another_machine_does_not_pass_for_this_one(
    settings: Settings, catalogue: Catalogue, address: str, status: int, is_mounted: bool
) -> None:
    """Paddock's own server refuses to listen on such an address; the user's may well."""
    app, allowed = FastAPI(), settings.model_copy(update={"allowed_hosts": ("work.example",)})
    if is_mounted:
        app.mount("/work", create_app(allowed, catalogue))
    else:
        app.include_router(paddock_router(allowed, catalogue), prefix="/work")
    with client_of(app, base_url=f"http://{address}") as client:
        for host, expected in (("localhost", status), ("work.example", 202)):
            submitted = client.post("/work/tasks/echo", json={}, headers={"Host": host})
            assert submitted.status_code == expected, submitted.text


# Errors


def in_pieces(size: int) -> Iterator[bytes]:
    yield from (b" " * 65536 for _ in range(size // 65536))


ERRORS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "an unknown task": ("POST /tasks/none", {"json": {}}, 404, "unknown-task"),
    "an unknown task's batch": ("POST /tasks/none/batch", {"json": []}, 404, "unknown-task"),
    "an unknown job": ("GET /jobs/none", {}, 404, "unknown-job"),
    "an unknown batch": ("GET /batches/none", {}, 404, "unknown-batch"),
    "an unknown queue": ("GET /queues/none", {}, 404, "unknown-queue"),
    "an unknown schedule": ("GET /schedules/none", {}, 404, "unknown-schedule"),
    "a query that FastAPI reads": ("GET /jobs?limit=x", {}, 422, "invalid-options"),
    "a query that is read directly": ("POST /tasks/echo?delay=x", {}, 422, "invalid-options"),
    "parameters": ("POST /tasks/describe", {"json": {}}, 422, "invalid-parameters"),
    "no JSON": (
        "POST /tasks/echo",
        {"content": "{", "headers": {"Content-Type": "application/json"}},
        400,
        "malformed-body",
    ),
    "a kind of body": ("POST /tasks/echo", {"content": "x"}, 415, "unsupported-media-type"),
    "a method": ("PUT /tasks/echo", {}, 405, "method-not-allowed"),
    "a large body": ("POST /tasks/echo", {"content": b" " * 2_000_000}, 413, "body-too-large"),
    "a large body, unannounced": (
        "POST /tasks/echo",
        {"content": in_pieces(2_000_000)},
        413,
        "body-too-large",
    ),
    "a large schedule": ("POST /schedules", {"content": b" " * 2_000_000}, 413, "body-too-large"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_errors_of_paddocks_routes_are_problems_also_where_the_user_handles_such(
    client: TestClient, what: str
) -> None:
    request, body, status, slug = ERRORS[what]
    method, _, path = request.partition(" ")
    answer = client.request(method, f"/work{path}", **body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert answer.json()["type"] == f"urn:paddock:problem:{slug}"
    assert answer.headers["X-Request-ID"] and answer.headers["X-Mine"] == "yes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_batch_may_be_larger_than_other_bodies(client: TestClient) -> None:
    lines = b"".join(b'{"value": "%s"}\n' % (b"x" * 1000) for _ in range(1500))
    kind = {"Content-Type": "application/x-ndjson"}
    accepted = client.post("/work/tasks/echo/batch", content=lines, headers=kind)
    assert (accepted.status_code, accepted.json()["count"]) == (202, 1500)


def test_a_request_id_is_the_callers_own_where_they_give_one(client: TestClient) -> None:
    answer = client.get("/work/tasks", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"


def test_while_redis_is_away_paddocks_routes_say_so(
    settings: Settings, catalogue: Catalogue, own: RedisServer
) -> None:
    away = settings.model_copy(update={"redis_url": Settings(redis_url=own.url).redis_url})
    with client_of(users_app([("/work", paddock_router(away, catalogue))])) as client:
        assert client.post("/work/tasks/echo", json={}).status_code == 202
        own.kill()
        for method, path in (("POST", "/tasks/echo"), ("GET", "/jobs"), ("GET", "/health/ready")):
            answer = client.request(method, f"/work{path}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
            assert answer.json()["type"] == "urn:paddock:problem:redis-away"
            assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/work/health/live").status_code == 200
        assert client.post("/orders", json={"zip_code": 1}).status_code == 200


def test_a_defect_is_a_problem_and_reaches_the_log(
    router: APIRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(Broker, "job", break_down)
    app = users_app([("/work", router)])
    with client_of(app, raise_server_exceptions=False) as client:
        answer = client.get("/work/jobs/some")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, PROBLEM)
    assert "secret" not in answer.text and answer.headers["X-Request-ID"]
    with client_of(app) as client, pytest.raises(KeyError, match="a secret"):
        client.get("/work/jobs/some")


# The user's own


OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "a good request": ("POST /orders", {"json": {"zip_code": 1}}),
    "a wrong body": ("POST /orders", {"json": {"zip_code": "x"}}),
    "a wrong path": ("GET /orders/x", {}),
    "an HTTP error": ("GET /orders/0", {}),
    "an error of Redis": ("GET /orders/1", {}),
    "an error of theirs": ("GET /orders/2", {}),
    "a defect": ("GET /orders/3", {}),
    "a method": ("PUT /orders", {}),
    "no such route": ("GET /nowhere", {}),
    "no such route below Paddock's": ("GET /work/nowhere", {}),
    "a large body": ("POST /orders", {"json": {"zip_code": 1, "more": "x" * 2_000_000}}),
    "a foreign name": ("GET /orders/0", {"headers": {"Host": "evil.example"}}),
}


@pytest.mark.parametrize("what", OWN)
def test_the_users_own_routes_stay_as_they_were(router: APIRouter, what: str) -> None:
    request, options = OWN[what]
    method, _, path = request.partition(" ")
    answers = []
    for routers in ([], [("/work", router)], [("", router)]):
        with client_of(users_app(routers), raise_server_exceptions=False) as client:
            answer = client.request(method, path, **options)
            answers.append((answer.status_code, answer.headers.multi_items(), answer.content))
    assert answers[0] == answers[1] == answers[2]


def test_what_the_user_keeps_in_the_request_stays_theirs(router: APIRouter) -> None:
    seen = []

    class Note:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope.setdefault("state", {})["caller"] = "theirs"
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                seen.append((scope["state"]["caller"], scope["route"].path))

    app = users_app([("/work", router)])
    app.add_middleware(Note)
    with client_of(app) as client:
        client.post("/work/tasks/echo", json={})
    assert seen == [("theirs", "/tasks/echo")]


# Dependencies of the user's


@pytest.mark.parametrize("given_to", ["the router", "the application", "a router around it"])
def test_a_login_that_the_user_asks_for_is_asked_for_at_every_route(
    router: APIRouter, given_to: str
) -> None:
    login = [Depends(logged_in)]
    app = users_app(dependencies=login if given_to == "the application" else None)
    around = APIRouter(dependencies=login if given_to == "a router around it" else None)
    around.include_router(
        router, prefix="/work", dependencies=login if given_to == "the router" else None
    )
    app.include_router(around)
    with client_of(app) as client:
        for method, path in routes_below(app, "/work"):
            stranger = client.request(method, path, headers={"User": "stranger"})
            assert (stranger.status_code, stranger.headers["Content-Type"]) == (403, PROBLEM), path
            assert stranger.json()["detail"] == "We don't know you."
        post = "/work/tasks/echo"
        assert client.post(post, json={}, headers={"User": "ada"}).status_code == 202
        missing = client.post(post, json={})
        assert (missing.status_code, missing.headers["Content-Type"]) == (422, PROBLEM)
        assert missing.json()["errors"][0]["in"] == "header"
        nobody = client.post(post, json={}, headers={"User": "nobody"})
        assert (nobody.status_code, nobody.json()) == (418, {"mine": "NotLoggedIn"})
        assert len(client.get("/work/jobs", headers={"User": "ada"}).json()["jobs"]) == 1


def test_a_login_is_asked_for_also_where_the_router_around_is_mounted(router: APIRouter) -> None:
    around, app = APIRouter(), users_app()
    around.include_router(router, dependencies=[Depends(logged_in)])
    app.mount("/work", around)
    with client_of(app) as client:
        for user, status in (("stranger", 403), ("ada", 202)):
            submitted = client.post("/work/tasks/echo", json={}, headers={"User": user})
            assert submitted.status_code == status
        assert submitted.headers["Location"] == f"/work/jobs/{submitted.json()['id']}"


# Mounted


def test_what_is_mounted_leads_only_below_its_path(
    settings: Settings, catalogue: Catalogue
) -> None:
    app, work = users_app(), create_app(settings, catalogue)
    app.mount("/work", work)
    with client_of(app) as client:
        home = client.get("/work/")
        assert home.status_code == 200 and leads_only_below("/work/", home.text)
        assert client.get("/work/openapi.json").json()["servers"] == [{"url": "/work"}]
        assert "/work/openapi.json" in client.get("/work/docs").text
        page = client.get("/work/dashboard/")
        assert page.status_code == 200 and leads_only_below("/work/dashboard/", page.text)
        assert "/work/docs" in client.get("/work/nowhere").json()["detail"]
        assert "/work" not in app.openapi()["paths"]


# The guide

GUIDE = (ROOT / "docs" / "embedding.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_guides_examples_run(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    number: int,
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    example: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), example)
    tests = [value for name, value in example.items() if name.startswith("test_")]
    for test in tests:
        test(request.getfixturevalue("paddock"))
    if tests:
        return
    OpenAPIV31SpecValidator(example["app"].openapi()).validate()
    below = "/mail" if "/mail" in EXAMPLES[number] else "/work"
    with client_of(example["app"]) as client:
        answer = client.get(f"{below}/health/ready", headers={"Session": "mine"})
        assert answer.status_code == 200

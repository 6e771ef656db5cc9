"""The OpenAPI document is valid, tells the truth, and no request that it allows breaks anything."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings
from tests.conftest import ROOT, RedisServer, eventually

TASKS = ("jobs", "tests.sample_tasks", "tests.sample_api_tasks")
KEY = "a-key-of-sixteen-letters"
EXAMPLES = 25  # for each operation
LONGEST_WAIT = 0.02  # seconds; there are no workers that anything could be waited for

CATALOGUE = Catalogue.load(TASKS)
DOCUMENT: dict[str, Any] = create_app(Settings(api_keys=KEY), CATALOGUE).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
UNFIT = [
    positive_data_acceptance,  # a document can't say "not both of `at` and `delay`"
    allow_header_conformance,  # POST /tasks/{task} answers 404 for unknown tasks, and is not told
]
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}


def test_the_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_each_task_has_a_route_with_a_schema_of_its_own_for_both_kinds_of_body() -> None:
    schemas = set()
    for task in CATALOGUE:
        operation = DOCUMENT["paths"][f"/tasks/{task.name}"]["post"]
        content = operation["requestBody"]["content"]
        assert set(content) == {"application/json", "application/x-www-form-urlencoded"}
        (reference,) = {body["schema"]["$ref"] for body in content.values()}
        schema = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(schema["properties"]) == set(task.parameters.names)
        assert operation["description"] == task.description
        assert operation["operationId"] == f"submit_{task.name}"
        required = bool(schema.get("required"))
        assert operation["requestBody"]["required"] is required
        schemas.add(reference)
    posts = [path for path in DOCUMENT["paths"] if path.startswith("/tasks/")]
    assert len(schemas) == len(CATALOGUE)
    assert len(posts) == 2 * len(CATALOGUE) + 1  # with the batches, and GET /tasks/{task}


def test_each_task_answers_with_jobs_whose_result_is_what_it_returns() -> None:
    for task in CATALOGUE:
        answers = DOCUMENT["paths"][f"/tasks/{task.name}"]["post"]["responses"]
        schema = answers["202"]["content"]["application/json"]["schema"]
        assert answers["200"]["content"]["application/json"]["schema"] == schema
        if not task.result.schema:
            assert schema == {"$ref": "#/components/schemas/JobView"}
            continue
        whole, part = schema["allOf"]
        assert whole == {"$ref": "#/components/schemas/JobView"}
        returned, until_then = part["properties"]["result"]["anyOf"]
        assert until_then == {"type": "null"}
        if "$ref" in returned:
            returned = resolve(returned)
        assert returned["type"] == task.result.schema["type"]
    returned = DOCUMENT["paths"]["/tasks/heavy_cpu_task"]["post"]["responses"]["202"]
    part = returned["content"]["application/json"]["schema"]["allOf"][1]
    assert part["properties"]["result"]["anyOf"][0] == {"type": "integer"}


def test_each_task_has_a_route_for_batches_of_its_own_parameters() -> None:
    for task in CATALOGUE:
        operation = DOCUMENT["paths"][f"/tasks/{task.name}/batch"]["post"]
        content = operation["requestBody"]["content"]
        kinds = {"application/json", "application/x-ndjson", "application/jsonl"}
        assert set(content) == kinds
        listed = content["application/json"]["schema"]
        assert (listed["type"], listed["items"]) == ("array", body_of(task.name))
        parameters = {parameter["name"] for parameter in operation["parameters"]}
        assert {"queue", "delay"} <= parameters and "wait" not in parameters


def test_models_of_the_same_name_are_told_apart() -> None:
    """Two tasks have an `Address`, and one's model bears the name of one of the service's own."""
    assert address_of("describe") == {"street", "number"}
    assert address_of("deliver") == {"city"}
    view = resolve(resolve(body_of("deliver"))["properties"]["view"])
    assert set(view["properties"]) == {"window"}
    assert "attempts" in DOCUMENT["components"]["schemas"]["JobView"]["properties"]


def address_of(task: str) -> set[str]:
    field = resolve(body_of(task))["properties"]["address"]
    return set(resolve(field.get("anyOf", [field])[0])["properties"])


def body_of(task: str) -> Any:
    operation = DOCUMENT["paths"][f"/tasks/{task}"]["post"]
    return operation["requestBody"]["content"]["application/json"]["schema"]


def resolve(schema: Any) -> Any:
    return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)
def test_every_route_documents_its_problems(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    problems = {code for code in answers if code >= "4"}
    assert all(answers[code]["content"] == PROBLEM for code in problems)
    expected = {"403"} if path.startswith("/health") else {"401", "403"}
    prefixes = ("/jobs", "/batches", "/queues", "/workers", "/schedules", "/health/ready")
    prefixes = (*prefixes, "/history", "/events")
    if path.startswith(prefixes) or method == "post":
        expected |= {"503"}
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        expected |= {"422"}
    if "{" in path:
        expected |= {"404"}
    if "requestBody" in operation:
        expected |= {"400", "404", "408", "413", "415"}
    single = "{job_id}" in path  # of many, those that it does not fit are passed over
    submits = method == "post" and path.startswith("/tasks/")  # and webhooks may not be set up
    if submits:
        expected |= {"429"} | (set() if path.endswith("/batch") else {"410"})
    acts = single and path.endswith(("/cancel", "/retry", "/result"))
    if acts or method == "delete" or submits:
        expected |= {"409"}
    if (method, path) == ("post", "/schedules"):  # an unknown task is a field that does not fit
        expected = expected - {"404"} | {"409", "422"}
    assert problems == expected


@pytest.mark.parametrize("keys", ["", KEY])
def test_a_key_is_documented_as_needed_where_one_is(catalogue: Catalogue, keys: str) -> None:
    security = create_app(Settings(api_keys=keys), catalogue).openapi()["security"]
    assert ({} in security) is not bool(keys)


def test_the_health_checks_are_documented_as_open() -> None:
    for _method, path, operation in OPERATIONS:
        assert (operation.get("security") == []) == path.startswith("/health/")


def test_the_document_is_what_the_service_serves(api: TestClient) -> None:
    served = api.get("/openapi.json").json()
    assert set(served["paths"]) < set(DOCUMENT["paths"])
    assert served["paths"]["/tasks/echo"] == DOCUMENT["paths"]["/tasks/echo"]


# Fuzzing


@pytest.fixture(scope="module")
def address(server: RedisServer) -> Iterator[str]:
    """A real `paddock serve`, which asks for a key."""
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as data:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        served = Settings(redis_url=server.url, tasks=TASKS, api_keys=KEY, data_dir=Path(data))
        fd = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--fd", str(fd)],
            cwd=ROOT,
            env=os.environ | served.environment(),
            pass_fds=[fd],
        )
        eventually(lambda: httpx.get(f"{url}/health/live", timeout=30).is_success)
        yield url
        process.terminate()
        process.wait()


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def as_it_is(_context: Any, value: Any) -> bytes:
    # What is no text, as the document says it has to be, may not become some by chance.
    text = value if isinstance(value, str) else f"no text: {value}"
    return text.encode(errors="replace")


# An answer that does not end is no case for it.
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/events")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_service(case: schemathesis.Case, address: str) -> None:
    bound_waiting(case)
    case.call_and_validate(
        base_url=address,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=30,
        excluded_checks=UNFIT,
    )


def bound_waiting(case: schemathesis.Case) -> None:
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int | float) and wait > LONGEST_WAIT:
        case.query["wait"] = LONGEST_WAIT

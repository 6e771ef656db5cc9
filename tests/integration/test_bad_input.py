"""Every bad request gets a problem that says what is wrong, and changes nothing."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings

KEY = "a-key-of-sixteen-letters"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LIMIT = 1024 * 1024  # bytes; PADDOCK_MAX_BODY's default


class Bad(NamedTuple):
    """A request, and the answer it gets. `{running}` and the like stand for such a job's id."""

    request: str
    status: int
    slug: str
    detail: str
    body: Any = None
    headers: dict[str, str] = {}


def in_pieces(body: bytes) -> Iterator[bytes]:
    """Sent without a Content-Length."""
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


def submit(task: str, body: Any, *answer: Any) -> Bad:
    return Bad(f"POST /tasks/{task}", *answer, body, JSON)


def fill_in(task: str, body: Any, *answer: Any) -> Bad:
    return Bad(f"POST /tasks/{task}", *answer, body, FORM)


def option(query: str, detail: str) -> Bad:
    request = f"POST /tasks/echo?{query}"
    return Bad(request, 422, "invalid-options", detail, "{}", JSON)


def wanted(query: str, detail: str) -> Bad:
    return Bad(f"GET /jobs?{query}", 422, "invalid-options", detail)


def unknown_job(job_id: str, told: str) -> Bad:
    return Bad(f"GET /jobs/{job_id}", 404, "unknown-job", f"There is no job {told}")


MALFORMED = (400, "malformed-body")
INVALID = (422, "invalid-parameters")
TOO_LARGE = (413, "body-too-large", f"{LIMIT} bytes at most (PADDOCK_MAX_BODY)")
UNREADABLE = (415, "unsupported-media-type")
ANOTHER_SITE = (403, "request-refused", "from another site's page")
CONFLICT = (409, "status-conflict")

BODIES = {
    "malformed JSON": submit("echo", "{value: 1}", *MALFORMED, "key must be a string at line 1"),
    "truncated JSON": submit("echo", '{"value": [1', *MALFORMED, "EOF while parsing"),
    "JSON with a comma too many": submit("echo", '{"value": 1,}', *MALFORMED, "trailing comma"),
    "two JSON texts": submit("echo", "{}{}", *MALFORMED, "trailing characters"),
    "a JSON array": submit("echo", "[1]", *INVALID, "body: Input should be an object"),
    "a JSON string": submit("echo", '"text"', *INVALID, "body: Input should be an object"),
    "null": submit("echo", "null", *INVALID, "body: Input should be an object"),
    "a wrong type": submit(
        "heavy_cpu_task", '{"n": "many"}', *INVALID, "n: Input should be a valid integer"
    ),
    "a fraction for an integer": submit(
        "heavy_cpu_task", '{"n": 1.5}', *INVALID, "n: Input should be a valid integer"
    ),
    "a missing field": submit("heavy_cpu_task", "{}", *INVALID, "n: Field required"),
    "no body at all": submit("heavy_cpu_task", "", *INVALID, "n: Field required"),
    "an unknown field": submit(
        "heavy_cpu_task", '{"n": 1, "m": 2}', *INVALID, "m: Unexpected keyword argument"
    ),
    "a broken constraint": submit(
        "heavy_cpu_task", '{"n": -1}', *INVALID, "n: Input should be greater than or equal to 0"
    ),
    "a broken constraint further in": submit(
        "describe",
        '{"count": 1, "address": {"street": "", "number": 0}}',
        *INVALID,
        "address.number: Input should be greater than or equal to 1",
    ),
    "a value that is not listed": submit(
        "fail_as", '{"kind": "other"}', *INVALID, "kind: Input should be 'value', 'key'"
    ),
    "bytes that are no base64": submit(
        "describe", '{"count": 1, "blob": "*"}', *INVALID, "blob: Data should be valid base64"
    ),
    "several faults at once": submit(
        "describe", '{"count": -1, "flag": "x"}', *INVALID, "; count: Input should be greater"
    ),
    "more faults than anybody reads": submit(
        "describe", '{"count":1,"tags":[' + "1," * 1000 + "1]}", *INVALID, "; and 981 more."
    ),
    "a mail address with a line break": submit(
        "send_email",
        '{"to": "a@example.org", "subject": "x\\r\\nBcc: b@example.org", "message": ""}',
        *INVALID,
        "subject: String should match pattern",
    ),
    "NaN for a number": submit("sleep", '{"seconds": NaN}', *INVALID, "seconds: Input should be"),
    "NaN for anything": submit(
        "echo", '{"value": [NaN]}', *INVALID, "value: Input should be a finite number"
    ),
    "infinity": submit(
        "echo", '{"value": -Infinity}', *INVALID, "value: Input should be a finite number"
    ),
    "a number beyond floats": submit(
        "echo", '{"value": 1e999}', *INVALID, "value: Input should be a finite number"
    ),
    "an integer of 5,000 digits": submit(
        "heavy_cpu_task", '{"n": ' + "9" * 5000 + "}", *MALFORMED, "number out of range"
    ),
    "an integer of 5,000 digits as text": submit(
        "heavy_cpu_task", '{"n": "' + "9" * 5000 + '"}', *INVALID, "exceeded maximum size"
    ),
    "nesting 10,000 deep": submit(
        "echo", '{"value": ' + "[" * 10_000 + "]" * 10_000 + "}", *MALFORMED, "recursion limit"
    ),
    "half of a surrogate pair": submit(
        "echo", '{"value": "\\ud800"}', *MALFORMED, "unexpected end of hex escape"
    ),
    "invalid UTF-8": submit("echo", b'{"value": "\xff"}', *MALFORMED, "invalid unicode code point"),
    "UTF-16": submit("echo", '{"value": 1}'.encode("utf-16"), *MALFORMED, "expected value"),
    "a form field given twice": fill_in(
        "heavy_cpu_task", "n=1&n=2", *MALFORMED, "n is given 2 times; it takes one value"
    ),
    "a form that is none": fill_in("heavy_cpu_task", "n", *MALFORMED, "bad query field: 'n'"),
    "a form with more fields than any": fill_in(
        "heavy_cpu_task", "n=1&" * 1001, *MALFORMED, "Max number of fields exceeded"
    ),
    "a form with an unfinished percent sign": fill_in(
        "heavy_cpu_task", "n=%5", *INVALID, "n: Input should be a valid integer"
    ),
    "a form with percent-encoded bytes that are no UTF-8": fill_in(
        "echo", "value=%ff", *MALFORMED, "can't decode byte 0xff"
    ),
    "a form with bytes that are no UTF-8": fill_in(
        "echo", b"value=\xff", *MALFORMED, "can't decode byte 0xff"
    ),
    "an unknown form field": fill_in(
        "heavy_cpu_task", "n=1&m=2", *INVALID, "m: Unexpected keyword argument"
    ),
    "a missing form field": fill_in("heavy_cpu_task", "", *INVALID, "n: Field required"),
    "malformed JSON in a form field": fill_in(
        "describe", "count=1&sizes={", *MALFORMED, "sizes is not valid JSON"
    ),
    "nesting 10,000 deep in a form field": fill_in(
        "describe", "count=1&tags=" + "[" * 10_000 + "]" * 10_000, *MALFORMED, "recursion"
    ),
    "NaN in a form field": fill_in(
        "describe", 'count=1&sizes={"a":NaN}', *INVALID, "sizes.a: Input should be a finite number"
    ),
    "an integer of 5,000 digits in a form field": fill_in(
        "describe", 'count=1&sizes={"a":' + "9" * 5000 + "}", *MALFORMED, "sizes is not valid JSON"
    ),
    "a multipart form": Bad(
        "POST /tasks/heavy_cpu_task",
        *UNREADABLE,
        "multipart/form-data can't be read. Send application/json or",
        '--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n1\r\n--x--\r\n',
        {"Content-Type": "multipart/form-data; boundary=x"},
    ),
    "plain text": Bad(
        "POST /tasks/heavy_cpu_task",
        *UNREADABLE,
        "text/plain can't be read",
        "n=1",
        {"Content-Type": "text/plain"},
    ),
    "no media type": Bad(
        "POST /tasks/heavy_cpu_task", *UNREADABLE, "A body without a Content-Type", b"n=1"
    ),
    "a body too large": submit("echo", b" " * (LIMIT + 1), *TOO_LARGE),
    "a body too large, its length not announced": submit(
        "echo", in_pieces(b" " * (LIMIT + 1)), *TOO_LARGE
    ),
    "a body too large where none is read": Bad(
        "POST /jobs/x/cancel", *TOO_LARGE, b" " * (LIMIT + 1)
    ),
}
OPTIONS = {
    "a negative delay": option("delay=-1", "delay: Input should be greater than or equal to 0"),
    "a delay that is no number": option("delay=soon", "delay: Input should be a valid number"),
    "no time to start": option("expires_in=0", "expires_in: Input should be greater than 0"),
    "a time to start of NaN": option("expires_in=nan", "expires_in: Input should be"),
    "a time to start of ever": option("expires_in=inf", "expires_in: Input should be less than"),
    "an end before the delay": option(
        "delay=60&expires_in=60", "expires_in: it would expire before it is queued."
    ),
    "an end before its time": option(
        "at=2030-01-31T12:00:00Z&expires_in=60", "expires_in: it would expire before it is queued."
    ),
    "a delay of NaN": option("delay=nan", "delay: Input should be"),
    "a huge delay": option("delay=1e300", "delay: Input should be less than or equal to 315360000"),
    "an infinite delay": option("delay=inf", "delay: Input should be less than or equal to"),
    "a time without a zone": option("at=2030-01-01T00:00:00", "at: Input should have timezone"),
    "a delay given as a time": option("at=60", "at: should be written like 2030-01"),
    "a time that is none": option("at=tomorrow", "at: Input should be a valid datetime"),
    "a time at the end of time": option("at=9999-12-31T23:59:59Z", "at: this is out of reach"),
    "both a time and a delay": option(
        "at=2030-01-01T00:00:00Z&delay=1", "Give either `delay` or `at`, not both"
    ),
    "a timeout of 0": option("timeout=0", "timeout: Input should be greater than or equal to 1"),
    "a fractional timeout": option("timeout=1.5", "timeout: Input should be a valid integer"),
    "a result_ttl of 0": option("result_ttl=0", "result_ttl: Input should be greater than or"),
    "a result_ttl of ever": option("result_ttl=-1", "result_ttl: Input should be greater than or"),
    "too long a wait": option("wait=301", "wait: Input should be less than or equal to 300"),
    "a negative wait": option("wait=-1", "wait: Input should be greater than or equal to 0"),
    "half a yes": option("at_front=maybe", "at_front: Input should be a valid boolean"),
    "a misspelt option": option("dealy=60", "dealy: Extra inputs are not permitted"),
    "a parameter in the query": option("value=1", "value: Extra inputs are not permitted"),
    "a dependency that does not exist": option("depends_on=none", "There is no job 'none'"),
    "one of several that does not exist": option(
        "depends_on={queued},none", "There is no job 'none': it never was"
    ),
    "no dependencies": option("depends_on=", "expects the ids of jobs, separated by commas"),
    "a comma too many": option("depends_on={queued},", "expects the ids of jobs"),
    "1001 dependencies": option(
        "depends_on=" + ",".join(map(str, range(1001))), "1000 jobs at most, these are 1001"
    ),
    "more of them than a URL holds": option(
        "depends_on=" + ",".join("x" * 36 for _ in range(109)), "at most 4000 characters"
    ),
    "a dependency and a delay": option("depends_on={queued}&delay=5", "goes with neither `delay`"),
    "a failure to mind without a dependency": option(
        "on_dependency_failure=run", "on_dependency_failure: needs depends_on"
    ),
    "something else to do about a failure": option(
        "depends_on={queued}&on_dependency_failure=wait", "Input should be 'fail' or 'run'"
    ),
    "a dependency given twice": option(
        "depends_on={queued}&depends_on={failed}", "depends_on: It is given 2 times; give it once"
    ),
    "a result of nothing": option("result_as=value", "needs exactly one job in depends_on"),
    "a result of two": option(
        "depends_on={queued},{failed}&result_as=value", "needs exactly one job in depends_on"
    ),
    "a result that need not be": option(
        "depends_on={queued}&result_as=value&on_dependency_failure=run", "has no result to run with"
    ),
    "a result as something unknown": option(
        "depends_on={queued}&result_as=worth", "no parameter of echo. It has: value"
    ),
    "results of nothing": option("results_as=value", "results_as: needs depends_on"),
    "a result and results": option(
        "depends_on={queued}&result_as=value&results_as=value", "give either this or result_as"
    ),
    "results that need not be": option(
        "depends_on={queued}&results_as=value&on_dependency_failure=run",
        "has no result to run with",
    ),
    "results as something unknown": option(
        "depends_on={queued}&results_as=worth", "no parameter of echo. It has: value"
    ),
    "an unknown queue": Bad(
        "POST /tasks/echo?queue=fast", 404, "unknown-queue", "There are: cpu, default, io, mail."
    ),
    "too long a wait for a job": Bad(
        "GET /jobs/{queued}?wait=301", 422, "invalid-options", "wait: Input should be less"
    ),
    "a misspelt option for a job": Bad(
        "GET /jobs/{queued}/result?weit=1", 422, "invalid-options", "weit: Extra inputs"
    ),
}
FILTERS = {
    "an unknown status": wanted("status=done", "status: Input should be 'queued', 'scheduled'"),
    "a time without a zone": wanted("since=2026-01-01T00:00:00", "since: Input should have"),
    "a time that is none": wanted("since=yesterday", "since: Input should be a valid datetime"),
    "a limit of 0": wanted("limit=0", "limit: Input should be greater than or equal to 1"),
    "too large a limit": wanted("limit=501", "limit: Input should be less than or equal to 500"),
    "a limit that is no number": wanted("limit=all", "limit: Input should be a valid integer"),
    "a misspelt filter": wanted("state=failed", "state: Extra inputs are not permitted"),
}
GIVEN = {
    "a parameter that is to be a result": Bad(
        "POST /tasks/heavy_cpu_task?depends_on={queued}&result_as=n",
        *INVALID,
        "n: Unexpected keyword argument",
        '{"n": 1}',
        JSON,
    ),
    "a parameter that is to be results": Bad(
        "POST /tasks/heavy_cpu_task?depends_on={queued},{failed}&results_as=n",
        *INVALID,
        "n: Unexpected keyword argument",
        '{"n": 1}',
        JSON,
    ),
    "a missing one beside it": Bad(
        "POST /tasks/append_line?depends_on={queued}&result_as=line",
        *INVALID,
        "path: Field required",
        "{}",
        JSON,
    ),
}
PLACES = {
    "an unknown task": submit(
        "eco", "{}", 404, "unknown-task", "There is no task 'eco'. The catalogue has: "
    ),
    "an unknown task to show": Bad("GET /tasks/eco", 404, "unknown-task", "The catalogue has: "),
    "an unknown job": unknown_job("01a2-none", "'01a2-none': it never was, was deleted, or"),
    "an unknown job to wait for": unknown_job("none?wait=5", "'none'"),
    "an unknown job to cancel": Bad("POST /jobs/none/cancel", 404, "unknown-job", "'none'"),
    "an unknown job to retry": Bad("POST /jobs/none/retry", 404, "unknown-job", "'none'"),
    "an unknown job to delete": Bad("DELETE /jobs/none", 404, "unknown-job", "'none'"),
    "an unknown job's result": Bad("GET /jobs/none/result", 404, "unknown-job", "'none'"),
    "a job id with a colon": unknown_job("{queued}:dependents", "'"),
    "a job id with a slash": Bad("GET /jobs/a%2Fb", 404, "not-found", "no such route"),
    "a job id with a space": unknown_job("a%20b", "'a b'"),
    "a job id with a line break": unknown_job("a%0A", r"'a\n'"),
    "a job id with a null byte": unknown_job("%00", r"'\x00'"),
    "a job id with a star": unknown_job("*", "'*'"),
    "a job id with an accent": unknown_job("caf%C3%A9", "'café'"),
    "a job id that is no UTF-8": unknown_job("%ff", "'\ufffd'"),
    "a job id of 256 characters": unknown_job("x" * 256, "'xxx"),
    "an unknown queue": Bad("GET /queues/fast", 404, "unknown-queue", "There are: cpu, default"),
    "an unknown route": Bad("GET /job", 404, "not-found", "There is no such route; /docs lists"),
    "a method a collection does not take": Bad(
        "DELETE /jobs", 405, "method-not-allowed", "This route takes GET only."
    ),
    "a method a job does not take": Bad(
        "PUT /jobs/x", 405, "method-not-allowed", "This route takes DELETE, GET only."
    ),
    "a method a task does not take": Bad(
        "PATCH /tasks/echo", 405, "method-not-allowed", "This route takes GET, POST only."
    ),
}
ACTIONS = {
    "cancel a finished job": Bad("POST /jobs/{finished}/cancel", *CONFLICT, "this one is finished"),
    "cancel a failed job": Bad("POST /jobs/{failed}/cancel", *CONFLICT, "this one is failed"),
    "retry a running job": Bad("POST /jobs/{running}/retry", *CONFLICT, "this one is running"),
    "retry a queued job": Bad("POST /jobs/{queued}/retry", *CONFLICT, "this one is queued"),
    "retry a finished job": Bad("POST /jobs/{finished}/retry", *CONFLICT, "this one is finished"),
    "delete a running job": Bad("DELETE /jobs/{running}", *CONFLICT, "this one is running"),
    "the result of a queued job": Bad(
        "GET /jobs/{queued}/result", *CONFLICT, "it is queued. `?wait=` waits for one."
    ),
    "the result of a failed job": Bad(
        "GET /jobs/{failed}/result", *CONFLICT, "it failed with ValueError: it never works"
    ),
}
CALLERS = {
    "another site's page": submit("echo", "{}", *ANOTHER_SITE)._replace(
        headers=JSON | {"Origin": "https://evil.example"}
    ),
    "a page without an origin of its own": submit("echo", "{}", *ANOTHER_SITE)._replace(
        headers=JSON | {"Origin": "null"}
    ),
    "an origin that is none": submit("echo", "{}", *ANOTHER_SITE)._replace(
        headers=JSON | {"Origin": "http://["}
    ),
    "another site's form": fill_in("echo", "value=1", *ANOTHER_SITE)._replace(
        headers=FORM | {"Sec-Fetch-Site": "cross-site"}
    ),
    "another port's page": Bad(
        "DELETE /jobs/x", *ANOTHER_SITE, headers={"Sec-Fetch-Site": "same-site"}
    ),
    "a name that was rebound to this machine": Bad(
        "GET /tasks",
        403,
        "request-refused",
        "does not go by the name 'evil.example': add it to PADDOCK_ALLOWED_HOSTS",
        headers={"Host": "evil.example:8000"},
    ),
    "a name that is none": Bad(
        "GET /tasks", 403, "request-refused", "'[': add it", headers={"Host": "["}
    ),
}
KEYS = {
    "no key": Bad("GET /tasks", 401, "key-missing", "This service asks for a key. Send one as"),
    "a wrong key": Bad(
        "GET /tasks",
        401,
        "key-missing",
        "This key is not known here",
        headers={"Authorization": f"Bearer {KEY}x"},
    ),
    "a key in a scheme of its own": Bad(
        "POST /tasks/echo",
        401,
        "key-missing",
        "asks for a key",
        headers={"Authorization": f"Token {KEY}"},
    ),
    "a browser with the key, sent by another site": Bad(
        "POST /tasks/echo",
        *ANOTHER_SITE,
        headers={
            # base64 of "me:a-key-of-sixteen-letters"
            "Authorization": "Basic bWU6YS1rZXktb2Ytc2l4dGVlbi1sZXR0ZXJz",
            "Origin": "https://evil.example",
        },
    ),
}

TABLE = {
    f"{kind}: {name}": bad
    for kind, cases in {
        "body": BODIES,
        "option": OPTIONS,
        "given": GIVEN,
        "filter": FILTERS,
        "place": PLACES,
        "action": ACTIONS,
        "caller": CALLERS,
    }.items()
    for name, bad in cases.items()
}


def answers_with_the_problem(client: TestClient, bad: Bad, ids: dict[str, str]) -> dict[str, Any]:
    method, _, path = bad.request.partition(" ")
    for status, job_id in ids.items():
        path = path.replace(f"{{{status}}}", job_id)
    answer = client.request(method, path, content=bad.body, headers=bad.headers)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (bad.status, f"urn:paddock:problem:{bad.slug}")
    assert bad.detail in problem["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"]
    assert problem["status"] == bad.status and problem["title"]
    return problem


def everything_stored(connection: redis.Redis) -> dict[bytes, bytes]:
    return {key: connection.dump(key) for key in connection.scan_iter()}


def ended(finish: Callable[[Job, Any], object]) -> Callable[[Job], None]:
    def end(job: Job) -> None:
        Queue(job.origin, job.connection, serializer="json").remove(job)
        with job.connection.pipeline() as pipe:
            finish(job, pipe)
            pipe.execute()

    return end


def fail(job: Job, pipe: Any) -> None:
    job.set_status(JobStatus.FAILED, pipeline=pipe)
    job._handle_failure("ValueError: it never works\n", pipe)


STATES: dict[str, Callable[[Job], None]] = {
    "queued": lambda job: None,
    "running": ended(lambda job, pipe: job.prepare_for_execution("worker", pipe)),
    "finished": ended(lambda job, pipe: job._handle_success(500, pipe)),
    "failed": ended(fail),
}


@pytest.fixture
def ids(api: TestClient, connection: redis.Redis) -> dict[str, str]:
    """A job in each state, brought there by RQ."""
    made = {}
    for name, bring in STATES.items():
        made[name] = api.post("/tasks/echo", json={"value": name}).json()["id"]
        bring(Job.fetch(made[name], connection=connection, serializer="json"))
        assert api.get(f"/jobs/{made[name]}").json()["status"] == name
    return made


@pytest.mark.parametrize("case", TABLE)
def test_a_bad_request_gets_its_problem_and_changes_nothing(
    api: TestClient, connection: redis.Redis, ids: dict[str, str], case: str
) -> None:
    before = everything_stored(connection)
    answers_with_the_problem(api, TABLE[case], ids)
    assert everything_stored(connection) == before


@pytest.mark.parametrize("case", KEYS)
def test_a_caller_without_a_key_gets_a_problem(
    settings: Settings, catalogue: Catalogue, case: str
) -> None:
    app = create_app(settings.model_copy(update={"api_keys": (secret(KEY),)}), catalogue)
    with TestClient(app, base_url="http://paddock.example") as client:
        answers_with_the_problem(client, KEYS[case], {})


def secret(key: str) -> Any:
    return Settings(api_keys=key).api_keys[0]


@pytest.mark.parametrize("case", ACTIONS)
def test_a_conflict_names_the_status_that_the_job_has(
    api: TestClient, ids: dict[str, str], case: str
) -> None:
    problem = answers_with_the_problem(api, ACTIONS[case], ids)
    assert f"{{{problem['job_status']}}}" in ACTIONS[case].request


def test_the_failing_fields_are_listed_one_by_one(api: TestClient) -> None:
    problem = api.post("/tasks/describe", json={"count": -1, "sizes": {"a": "x"}}).json()
    assert {(row["in"], row["field"]) for row in problem["errors"]} == {
        ("body", "count"),
        ("body", "sizes.a"),
    }
    assert problem["task"] == "describe"

    problem = api.post("/tasks/echo?delay=-1&dealy=2", json={}).json()
    assert {(row["in"], row["field"]) for row in problem["errors"]} == {
        ("query", "delay"),
        ("query", "dealy"),
    }


def test_a_long_list_of_wrong_items_is_not_answered_with_a_longer_one(api: TestClient) -> None:
    answer = api.post("/tasks/describe", json={"count": 1, "tags": [1] * 100_000})
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 10_000


def test_a_method_that_is_not_allowed_is_told_all_that_are(api: TestClient) -> None:
    assert api.put("/tasks/echo").headers["Allow"] == "GET, POST"
    assert api.post("/jobs/x").headers["Allow"] == "DELETE, GET"


def test_ids_that_reach_into_other_keys_of_redis_are_no_jobs(
    api: TestClient, connection: redis.Redis
) -> None:
    queue = Queue("default", connection, serializer="json")
    first = queue.enqueue("tests.sample_tasks.echo.run")
    queue.enqueue("tests.sample_tasks.echo.run", depends_on=first)
    before = everything_stored(connection)
    assert first.dependents_key.encode() in before

    name = f"{first.id}:dependents"
    answers = [
        api.get(f"/jobs/{name}"),
        api.get(f"/jobs/{name}/result"),
        api.post(f"/jobs/{name}/cancel"),
        api.post(f"/jobs/{name}/retry"),
        api.delete(f"/jobs/{name}"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert everything_stored(connection) == before


def test_a_defect_is_told_without_its_details_and_with_the_request_id(
    settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings, catalogue)

    def fail(*_: object) -> None:
        raise RuntimeError("the database password is hunter2")

    monkeypatch.setattr(type(app.state.broker), "job", fail)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.get("/jobs/x", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["type"]) == (
        500,
        "urn:paddock:problem:internal-error",
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == "mine"
    assert "hunter2" not in answer.text


def test_a_caller_that_leaves_before_the_bodys_end_is_no_defect(
    settings: Settings, catalogue: Catalogue
) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tasks/echo",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }
    asyncio.run(
        create_app(settings, catalogue)(scope, receive, send)
    )  # raises nothing to be logged
    assert sent[0]["status"] == 400

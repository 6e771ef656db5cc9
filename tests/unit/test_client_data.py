"""What the client makes of Python values, of answers, and of problems."""

import inspect
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

import service.client
from service import errors
from service.api import batch_schemas, schemas
from service.api.options import RunOptions
from service.api.options import SubmitOptions as ServedOptions
from service.api.why import WhyView
from service.broker.status import Status
from service.client import (
    AnswerUnreadable,
    AsyncClient,
    BatchOptions,
    Client,
    Execution,
    Job,
    JobFailed,
    PaddockHTTPError,
    Progress,
    RedisAway,
    SubmitOptions,
)
from service.client.answers import problem_of
from service.client.encoding import encoded
from service.client.jobs import ENDED, Failure, JobPage, outcome
from service.client.lines import BLOCK, Lines
from service.client.options import as_query
from service.client.reading import read, read_list

JOB = {"id": "1", "task": "echo", "status": "queued", "queue": "default"}


class Level(IntEnum):
    HIGH = 2


class Color(Enum):
    BLUE = "blue"


@dataclass
class Point:
    x: float
    at: date


# Parameters


def test_python_values_are_encoded_as_tasks_read_them() -> None:
    given = {
        "plain": [None, True, 1, 0.5, "ü"],
        "when": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        "key": UUID(int=1),
        "levels": (Level.HIGH, Color.BLUE),
        "path": Path("/tmp/x"),
        "blob": b"\x00\xff",
        "points": [Point(1.5, date(2030, 1, 2))],
        "named": {Color.BLUE: {3: "c"}},
    }
    assert json.loads(encoded(given)) == {
        "plain": [None, True, 1, 0.5, "ü"],
        "when": "2030-01-02T03:04:05+00:00",
        "key": "00000000-0000-0000-0000-000000000001",
        "levels": [2, "blue"],
        "path": "/tmp/x",
        "blob": "AP8=",
        "points": [{"x": 1.5, "at": "2030-01-02"}],
        "named": {"blue": {"3": "c"}},
    }


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"a": [1, {"b": {2}}]}, TypeError, r"a\[1\]\.b: JSON has no form for a set"),
        ({"price": Decimal(1)}, TypeError, "price: JSON has no form for a Decimal"),
        ({"a": Point}, TypeError, "a: JSON has no form for a type"),
        ({"a": {(1, 2): 3}}, TypeError, "a: JSON has text for keys, not a tuple"),
        ({"a": float("nan")}, ValueError, "a: JSON has no nan"),
        ({"a": [float("-inf")]}, ValueError, r"a\[0\]: JSON has no -inf"),
        ([1], TypeError, "a mapping of names to values, not a list"),
    ],
)
def test_what_json_can_not_carry_is_named(given: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        encoded(given)


# Options


def test_options_that_say_nothing_are_left_out() -> None:
    asked: SubmitOptions = {"delay": None, "at_front": False, "depends_on": [], "queue": "cpu"}
    assert as_query(asked, SubmitOptions) == {"queue": "cpu"}


def test_what_is_none_of_the_options_is_named() -> None:
    with pytest.raises(TypeError, match=r"wait: no such option.*\{'wait': …\}"):
        as_query({"wait": 1}, BatchOptions)


def test_an_option_that_is_wrong_is_left_to_the_service() -> None:
    assert as_query({"timeout": 0}, SubmitOptions) == {"timeout": "0"}


def test_all_options_of_the_service_can_be_given() -> None:
    assert set(RunOptions.model_fields) <= BatchOptions.__optional_keys__
    assert set(ServedOptions.model_fields) <= SubmitOptions.__optional_keys__


# Answers


def test_times_are_aware_and_unknown_fields_are_passed_over() -> None:
    error = {"type": "ValueError", "message": "no", "traceback": "…", "hint": "newer"}
    told = {
        **JOB,
        "enqueued_at": "2030-01-01T00:00:00.250000Z",
        "depends_on": ["2", "3"],
        "error": error,
        "progress": {"fraction": 0.5, "newer": True},
    }
    job = read(Job, told)
    assert job.enqueued_at == datetime(2030, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert job.depends_on == ("2", "3") and job.started_at is None
    assert job.error == Failure(type="ValueError", message="no", traceback="…")
    assert job.progress == Progress(fraction=0.5)
    page = read(JobPage, {"jobs": [told], "next": None})
    assert page.jobs == (job,)


@pytest.mark.parametrize(
    "document", [None, [], "text", {"id": "1"}, {**JOB, "enqueued_at": "soon"}, {**JOB, "error": 1}]
)
def test_what_is_no_job_is_told_of(document: Any) -> None:
    with pytest.raises(AnswerUnreadable):
        read(Job, document)
    with pytest.raises(AnswerUnreadable):
        read_list(Execution, document or {})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Job", schemas.JobView),
        ("Failure", schemas.ErrorView),
        ("Eta", schemas.EtaView),
        ("Why", WhyView),
        ("Execution", schemas.ExecutionView),
        ("Progress", schemas.ProgressView),
        ("Log", schemas.LogView),
        ("LogLine", schemas.LogLineView),
        ("Task", schemas.TaskView),
        ("TaskRetry", schemas.RetryView),
        ("Queue", schemas.QueueView),
        ("Worker", schemas.WorkerView),
        ("Batch", batch_schemas.BatchAccepted),
        ("BatchStatus", batch_schemas.BatchView),
        ("BatchCounts", batch_schemas.BatchCounts),
        ("BatchRow", batch_schemas.BatchRowView),
        ("BatchCanceled", batch_schemas.BatchCanceled),
        ("JobsCanceled", schemas.JobsCanceled),
        ("JobsRetried", schemas.JobsRetried),
    ],
)
def test_the_client_reads_each_field_that_the_service_writes(ours: str, theirs: Any) -> None:
    known = {field.name for field in fields(getattr(service.client, ours))}
    assert known >= set(theirs.model_fields)


def test_a_job_has_ended_where_the_service_says_so() -> None:
    assert {status for status in Status if status.is_final} == ENDED


def test_a_failed_job_without_a_reason_has_no_result_either() -> None:
    with pytest.raises(JobFailed, match="no reason is known"):
        outcome(read(Job, {**JOB, "status": "failed"}))


# Problems

#: Problems that no call of the client can lead to.
UNMET = {
    *("Problem", "MalformedBody", "IdempotencyKeyMalformed", "MediaTypeUnsupported"),
    *("RequestTooSlow", "ScheduleNotFound", "ScheduleDeclared", "ScheduleInvalid"),
    *("AlreadySubmitted", "DependencyUnknown"),
}


def _kinds(of: type[Any]) -> Iterator[type[Any]]:
    yield of
    for kind in of.__subclasses__():
        yield from _kinds(kind)


@pytest.mark.parametrize(
    "problem", [kind for kind in _kinds(errors.Problem) if kind.__name__ not in UNMET]
)
def test_each_problem_of_the_service_has_an_error_of_the_same_name(problem: Any) -> None:
    document = {"type": f"urn:paddock:problem:{problem.slug}", "title": problem.title}
    error = problem_of(httpx.Response(problem.status, json=document))
    assert type(error).__name__ == problem.__name__
    assert type(error) is getattr(service.client, problem.__name__)


def test_an_error_carries_all_that_was_told() -> None:
    document = {
        "type": "urn:paddock:problem:redis-away",
        "title": "Jobs can't be accepted now",
        "status": 503,
        "detail": "Redis is loading.",
        "in_doubt": False,
    }
    answer = httpx.Response(503, json=document, headers={"Retry-After": "2"})
    error = problem_of(answer)
    assert isinstance(error, RedisAway)
    assert (error.status, error.retry_after, error.is_passing) == (503, 2, True)
    assert str(error) == "503 Jobs can't be accepted now: Redis is loading."
    assert (error.detail, error.problem["in_doubt"]) == ("Redis is loading.", False)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problem, again.tries) == (str(error), document, 1)


@pytest.mark.parametrize("body", [b"", b"<h1>Bad gateway</h1>", b'"text"', b"\xff\xfe"])
def test_a_proxys_own_page_is_an_error_too(body: bytes) -> None:
    error = problem_of(httpx.Response(502, content=body))
    assert type(error) is PaddockHTTPError
    assert (error.status, error.type, error.is_passing) == (502, "about:blank", True)
    assert str(error).startswith("502 Bad Gateway")


# A batch's body


def test_a_body_comes_in_blocks_and_can_be_sent_again_unless_it_is_an_iterator() -> None:
    sets = [{"value": "x" * 1_000}] * 200
    for given in (sets, tuple(sets), lambda: iter(sets)):
        lines = Lines(given)
        pieces = list(lines.pieces())
        assert len(pieces) == 4 and all(BLOCK <= len(piece) < BLOCK + 2_000 for piece in pieces[:3])
        assert b"".join(pieces).splitlines() == [encoded(sets[0])] * 200
        assert lines.can_be_sent and list(lines.pieces()) == pieces


def test_an_iterator_can_be_sent_until_it_is_begun() -> None:
    async def waited_for() -> AsyncIterator[dict[str, Any]]:
        yield {"value": 1}

    for given in (iter([{"value": 1}]), ({"value": n} for n in range(2))):
        lines = Lines(given)
        pieces = lines.pieces()
        assert lines.can_be_sent
        assert list(pieces) and not lines.can_be_sent
    assert Lines(waited_for()).can_be_sent
    with pytest.raises(TypeError, match="AsyncClient"):
        list(Lines(waited_for()).pieces())


# Both clients


def _calls(of: type[Any]) -> dict[str, Any]:
    return {
        name: call
        for name, call in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_") and name not in ("close", "aclose")
    }


def test_both_clients_have_the_same_calls_and_say_the_same_of_them() -> None:
    plain, awaited = _calls(Client), _calls(AsyncClient)
    assert set(plain) == set(awaited) >= {"submit", "result", "events", "batch", "tasks"}
    for name, call in plain.items():
        assert inspect.getdoc(call) == inspect.getdoc(awaited[name]) is not None
        ours, theirs = inspect.signature(call), inspect.signature(awaited[name])
        assert [str(each).partition(":")[0] for each in ours.parameters.values()] == [
            str(each).partition(":")[0] for each in theirs.parameters.values()
        ]


def test_all_that_is_public_is_there_and_says_what_it_is() -> None:
    for name in service.client.__all__:
        assert getattr(service.client, name).__doc__

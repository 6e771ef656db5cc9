"""A job of a batch is written field by field as a single submission writes it."""

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import fakeredis
import pytest

from jobs import Exponential, Retry, Task
from jobs.catalogue import Catalogue
from jobs.policy import Policy
from service.batch_store import job_id_in, new_batch_id, shared_part
from service.broker.batch_jobs import JobTemplate
from service.submission import Submission, enqueue_arguments, job_fields, job_of
from tests.conftest import TASKS

CASES: list[tuple[str, dict[str, Any]]] = [
    ("echo", {"value": {"text": "ü" * 100, "numbers": [1, 2.5, None]}}),
    ("fail_and_log", {"path": "/tmp/x"}),  # with retries
    ("heavy_cpu_task", {"n": 10}),
    ("two_at_once", {"folder": "/tmp", "seconds": 1.0}),  # under a limit
    ("one_a_tenant", {"folder": "/tmp", "tenant": "a", "seconds": 1.0}),  # under one of its own
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"queue": "mail", "timeout": 7, "result_ttl": 9},
    {"at_front": True},
    {"expires": datetime.now(UTC) + timedelta(hours=1)},
    {"webhook": "https://example.com/hook"},
    {"at": datetime.now(UTC) + timedelta(hours=1)},
    {"at": datetime.now(UTC) + timedelta(hours=1), "at_front": True},
]
MOMENTS = ("created_at", "enqueued_at")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load((*TASKS, "tests.sample_waiting_tasks"))


@pytest.mark.parametrize(("task", "parameters"), CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_its_hash_is_what_a_single_submission_writes(
    catalogue: Catalogue, task: str, parameters: dict[str, Any], options: dict[str, Any]
) -> None:
    client: Any = fakeredis.FakeRedis()
    submission = Submission(task=catalogue[task], parameters=parameters, **options)
    batch_id = new_batch_id()
    template = JobTemplate(submission, batch_id, client)
    common = dict(zip(template.common[::2], template.common[1::2], strict=True))
    of_batch = common | dict(zip(template.own, template.values(parameters), strict=True))
    single = job_of(submission, job_id_in(batch_id, 0), client)
    expected = job_fields(single, submission) | {"batch": batch_id}
    assert of_batch.keys() == expected.keys()
    for moment in MOMENTS:
        assert of_batch.pop(moment) <= expected.pop(moment)
    assert zlib.decompress(of_batch.pop("data")) == zlib.decompress(expected.pop("data"))
    assert of_batch == expected
    keys, args = enqueue_arguments(single, submission)
    place = template.place
    assert keys[1:] == [place.queue, place.queues, place.scheduled]
    waits = args[1] == "WAIT"  # for a place, which the batch's jobs get when workers come to them
    assert waits == (single.has_rate_limit and "at" not in options)
    pushed = ["LPUSH" if "at_front" in options else "RPUSH", 0]
    assert [place.push, place.moment] == (pushed if waits else args[1:3])


def wait(number: int) -> None:
    """Nothing."""


def test_waits_are_drawn_for_each_job_alone() -> None:
    task: Any = Task(wait, None, Policy(retry=Retry(5, interval=Exponential(first=100, jitter=1))))
    client: Any = fakeredis.FakeRedis()
    template = JobTemplate(Submission(task=task, parameters={}), new_batch_id(), client)
    assert "retry_intervals" not in template.common
    assert template.own[-1] == "retry_intervals"
    assert len({template.values({"number": 1})[-1] for _ in range(10)}) > 1


def test_the_ids_of_its_jobs_count_up_from_the_batchs_own() -> None:
    batch_id = new_batch_id()
    ids = [job_id_in(batch_id, number) for number in (0, 1, 255, 256, 999_999)]
    assert ids == sorted(ids) and ids[-1] < batch_id
    assert all(UUID(job_id).version == 7 and str(UUID(job_id)) == job_id for job_id in ids)
    assert all(job_id.startswith(shared_part(batch_id)) for job_id in ids)
    assert shared_part(new_batch_id()) != shared_part(batch_id)

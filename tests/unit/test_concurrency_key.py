"""Which jobs share a limit."""

from typing import Any

import pytest
from rq.job import Job

from jobs import Task
from jobs.policy import Policy
from service.submission import Submission, job_of
from service.waiting import RQ_KEY_PREFIX


def task(function: Any, **policy: Any) -> Task[..., Any]:
    return Task(function, "sync", Policy(concurrency=3, **policy))


def of_tenant(tenant: Any, when: int = 0) -> None: ...


def test_without_a_key_all_jobs_of_a_task_share_one() -> None:
    assert task(of_tenant).limit({"tenant": "a", "when": 1}) == ("sync", 3)


def test_a_task_without_a_limit_has_none() -> None:
    assert Task(of_tenant, "sync", Policy()).limit({"tenant": "a", "when": 1}) is None


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("acme", "sync/acme"),
        ("acme:allowed", "sync/acme%3Aallowed"),
        ("a b/c", "sync/a%20b%2Fc"),
        ("", "sync/"),
        (7, "sync/7"),
        (None, "sync/null"),
        ({"b": 1, "a": [2]}, "sync/%7B%22a%22%3A%20%5B2%5D%2C%20%22b%22%3A%201%7D"),
    ],
)
def test_a_parameters_values_tell_limits_apart(value: Any, key: str) -> None:
    limit = task(of_tenant, concurrency_key="tenant").limit({"tenant": value, "when": 0})
    assert limit == (key, 3)


def test_long_values_are_hashed() -> None:
    limited = task(of_tenant, concurrency_key="tenant")
    one, other = (limited.limit({"tenant": "x" * n, "when": 0}) for n in (1000, 1001))
    assert one is not None and other is not None
    assert one != other
    assert len(one[0]) < 100


def test_a_function_of_all_parameters_gets_them_in_their_types() -> None:
    def by_decade(tenant: str, when: int) -> str:
        return f"{tenant.lower()} {when // 10}"

    def sync(tenant: str, when: int) -> None: ...

    limited = task(sync, concurrency_key=by_decade)
    assert limited.limit({"tenant": "Acme", "when": 25}) == ("sync/acme%202", 3)


def test_the_job_carries_it_in_rqs_fields() -> None:
    limited = task(of_tenant, concurrency_key="tenant")
    submission = Submission(task=limited, parameters={"tenant": "a", "when": 0})
    job: Job = job_of(submission, "an-id", object())
    assert (job.rate_limit_key, job.rate_limit_concurrency) == ("sync/a", 3)
    # The scripts spell this key out as RQ does, two colons and all.
    assert job.dependencies_key == f"{RQ_KEY_PREFIX}:job::an-id:dependencies"

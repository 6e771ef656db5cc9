"""Hundreds of jobs at once in one process: each runs to its own end."""

import asyncio
import functools
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.catalogue import Catalogue
from service.broker.status import Status
from tests.conftest import TASKS, Start, eventually
from tests.integration.conftest import Jobs
from tests.integration.test_worker import lines

IO_TASKS = (*TASKS, "tests.sample_io_tasks")


@pytest.fixture(scope="module")
def io_tasks() -> Catalogue:
    return Catalogue.load(IO_TASKS)


@pytest.fixture
def jobs(redis_url: str, io_tasks: Catalogue) -> Iterator[Jobs]:
    opened = Jobs(redis_url, io_tasks)
    yield opened
    opened.close()


@pytest.fixture
def start_io(start_worker: Start) -> Start:
    """Start an io worker that knows the tasks."""
    return functools.partial(start_worker, "--io", PADDOCK_TASKS=",".join(IO_TASKS))


def test_hundreds_of_jobs_wait_at_once_in_one_process(jobs: Jobs, start_io: Start) -> None:
    many = jobs.submit_many("wait", [{"seconds": 2, "value": number} for number in range(300)])
    start_io(PADDOCK_ASYNC_CONCURRENCY="300")
    eventually(lambda: jobs.status(many[-1]) == Status.RUNNING)
    for number, job_id in enumerate(many):
        job = jobs.ended(job_id)
        assert (job.status, job.result, job.attempts) == (Status.FINISHED, number, 1)

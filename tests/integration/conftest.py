"""Jobs put in as the API does it, and looked at as the API does it, without going over HTTP."""

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.broker.connection import connect_async
from service.broker.enqueuer import Enqueuer, Submission
from service.broker.records import JobRecord
from service.broker.status import Status
from service.settings import Settings
from tests.conftest import PATIENCE, ROOT, TASKS, Start, eventually
from tests.integration.databases import Database, PostgresServer, postgres, sqlite
from tests.integration.outbox_program import Program, running

ALL_TASKS = (
    *TASKS,
    *("tests.sample_worker_tasks", "tests.sample_waiting_tasks", "tests.sample_io_tasks"),
    "tests.sample_reporting_tasks",
)
RQ = str(Path(sys.executable).with_name("rq"))
OPTIONS = (
    *("queue", "timeout", "at_front", "result_ttl", "webhook", "expires"),
    *("depends_on", "on_dependency_failure", "result_as", "results_as"),
)


class Jobs:
    """The jobs of one Redis."""

    def __init__(self, url: str, catalogue: Catalogue) -> None:
        self.url, self.catalogue = url, catalogue
        self.broker = Broker.open(Settings(redis_url=url), catalogue)

    def submit(self, task: str, *, delay: float = 0, **given: Any) -> str:
        """Enqueue one; the names in OPTIONS are options, the rest parameters."""
        return self.submit_many(task, [given], delay=delay)[0]

    def submit_many(self, task: str, many: list[dict[str, Any]], *, delay: float = 0) -> list[str]:
        at = datetime.now(UTC) + timedelta(seconds=delay) if delay else None
        return asyncio.run(self._submit([self._submission(task, given, at) for given in many]))

    def __getitem__(self, job_id: str) -> JobRecord:
        return self.broker.job(job_id)

    def status(self, job_id: str) -> Status:
        return self[job_id].status

    def await_status(self, job_id: str, status: str, seconds: float = PATIENCE) -> None:
        eventually(lambda: self.status(job_id) == status, seconds)

    def ended(self, job_id: str, seconds: float = PATIENCE) -> JobRecord:
        """The job, once it stands in its last status."""
        eventually(lambda: self.status(job_id).is_final, seconds)
        return self[job_id]

    def close(self) -> None:
        self.broker.client.close()

    def _submission(self, task: str, given: dict[str, Any], at: datetime | None) -> Submission:
        options = {name: given[name] for name in OPTIONS if name in given}
        parameters = {name: value for name, value in given.items() if name not in options}
        declared = self.catalogue[task]
        body = json.dumps(parameters, default=str).encode()
        given_later = options.get("result_as") or options.get("results_as")
        accepted = declared.parameters.accept(body, given_later)
        return Submission(task=declared, parameters=accepted, at=at, **options)

    async def _submit(self, submissions: list[Submission]) -> list[str]:
        client = connect_async(self.url)
        try:
            enqueuer = Enqueuer(client)
            return [(await enqueuer.submit(submission)).id for submission in submissions]
        finally:
            await client.aclose()


def reasons(jobs: Jobs, job_id: str) -> list[tuple[str, str]]:
    """How each of a job's executions ended, and why."""
    return [(row["outcome"], row["reason"]) for row in jobs.broker.executions(job_id)]


@pytest.fixture(scope="session")
def all_tasks() -> Catalogue:
    return Catalogue.load(ALL_TASKS)


@pytest.fixture
def jobs(redis_url: str, all_tasks: Catalogue, patient: None) -> Iterator[Jobs]:
    opened = Jobs(redis_url, all_tasks)
    yield opened
    opened.close()


@pytest.fixture
def start_all_tasks(start_worker: Start) -> Start:
    """Start a worker that knows the further tasks as well."""
    return functools.partial(start_worker, PADDOCK_TASKS=",".join(ALL_TASKS))


@pytest.fixture
def start_io(start_all_tasks: Start) -> Start:
    """Start a worker of jobs that wait."""
    return functools.partial(start_all_tasks, "--io")


@pytest.fixture
def rq(redis_url: str) -> Any:
    """Run `rq` to its end. It takes options after its subcommand only, the URL too."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [RQ, *arguments, "-u", redis_url],
            cwd=ROOT,
            env=os.environ | {"PADDOCK_TASKS": ",".join(TASKS)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        if server is None:
            pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty one."""
    if request.param == "sqlite":
        return sqlite(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def program(database: Database, settings: Settings) -> Iterator[Program]:
    """With its tables made."""
    tasks = Catalogue.load((*ALL_TASKS, "tests.sample_unique_tasks"))
    with running(database, settings, tasks) as program:
        program.create_tables()
        yield program

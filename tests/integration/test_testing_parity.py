"""What the test kit shows is what happens: each scenario is played in it, and on real workers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobs import Task
from service.adapters.door import Door
from service.adapters.jobs import BlockingJob, BlockingJobs
from service.api.app import create_app
from service.broker.intake import Options
from service.broker.records import JobRecord
from service.errors import Problem
from service.settings import Settings
from service.testing.paddock import Paddock
from tests.conftest import Start, eventually
from tests.sample_kit_tasks import (
    fail_in_kind,
    note,
    note_on_cpu,
    submit_from_a_loop,
    submit_others,
    tell_of_itself,
)
from tests.sample_tasks import describe, echo, echo_async, return_unserializable, succeed_at
from tests.sample_unique_tasks import fail_until_there, refresh
from tests.sample_waiting_tasks import (
    double,
    double_again,
    fail_with,
    one_a_tenant,
    one_that_fails,
    total,
    two_at_once,
)
from tests.sample_worker_tasks import succeed_later

MODULES = (
    *("jobs", "tests.sample_tasks", "tests.sample_kit_tasks", "tests.sample_unique_tasks"),
    *("tests.sample_waiting_tasks", "tests.sample_worker_tasks"),
)


@dataclass(frozen=True)
class World:
    """Where a scenario is played."""

    paddock: Paddock
    door: Door
    folder: Path
    settle: Callable[[], object]  #: have all jobs run until they have ended
    wait: Callable[[float], object]  #: for so many seconds to have gone by

    def submit(self, task: Task[..., Any], /, *args: Any, **given: Any) -> BlockingJob[Any]:
        """With the options that `to_be` holds."""
        options = given.pop("to_be", Options())
        return BlockingJobs(self.door, options).submit(task, *args, **given)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def api(self) -> TestClient:
        app = create_app(self.paddock.settings, self.paddock.catalogue)
        return TestClient(app, base_url="http://127.0.0.1")

    def told(self) -> dict[str, Any]:
        """All that is known of all jobs, but for what must differ: ids, times, names of workers."""
        jobs = self.paddock.jobs
        with self.api() as api:
            runs = [api.get(f"/jobs/{job.id}/executions").json() for job in jobs]
        replaced = {job.id: f"job {number}" for number, job in enumerate(jobs)}
        replaced |= {str(self.folder): "folder"}
        return {
            "jobs": [
                _alike(asdict(job) | {"worker": job.worker is not None}, replaced) for job in jobs
            ],
            "executions": [[(run["outcome"], run["reason"]) for run in each] for each in runs],
            "files": {path.name: path.read_text() for path in self.folder.glob("*.txt")},
        }


def _alike(value: Any, replaced: dict[str, str]) -> Any:
    """The same in both worlds: each job by its number, and only whether there is a time."""
    match value:
        case dict():
            return {
                key: None if key in ("traceback", "batch") else _alike(each, replaced)
                for key, each in value.items()
            }
        case list():
            return [_alike(each, replaced) for each in value]
        case datetime():
            return "a time"
        case str():
            for found, instead in replaced.items():
                value = value.replace(found, instead)
    return value


@pytest.fixture
def paddock_settings() -> dict[str, Any]:
    return {"tasks": MODULES}


@pytest.fixture
def in_the_kit(paddock: Paddock, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "kit"
    folder.mkdir()
    door = Door(paddock.settings)
    yield World(paddock, door, folder, paddock.run_jobs, paddock.advance)
    door.close()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, data_dir=tmp_path, tasks=MODULES, workers=1)


@pytest.fixture
def on_workers(settings: Settings, tmp_path: Path, start_worker: Start) -> Iterator[World]:
    folder, door, started = tmp_path / "workers", Door(settings), []
    folder.mkdir()
    paddock = Paddock(settings, door.catalogue)

    def settle() -> None:
        if not started:
            started.append(start_worker())
        eventually(lambda: all(job.status.is_final for job in paddock.jobs))

    yield World(paddock, door, folder, settle, time.sleep)
    door.close()
    paddock.__exit__()


def return_what_there_is(world: World) -> None:
    for value in (7, None, "text", [1, {"a": [True, None]}], 1.5, ""):
        world.submit(echo, value)
    world.submit(echo_async, 3)
    world.submit(describe, 3, when=datetime(2026, 1, 2, tzinfo=UTC), blob=b"\x00\xff")
    world.submit(tell_of_itself)
    world.submit(return_unserializable)
    world.settle()


def fail_in_all_kinds(world: World) -> None:
    for kind in ("retried", "not on the list", "never", "permanent", "exit", "canceled"):
        world.submit(fail_in_kind, kind)
    world.settle()


def succeed_in_the_end(world: World) -> None:
    world.submit(succeed_at, 3, world.path("at"))
    world.submit(succeed_later, 3, world.path("later"))
    world.submit(succeed_later, 4, world.path("too late"))
    world.settle()


def go_by_the_queues_priority(world: World) -> None:
    path = world.path("order.txt")
    world.submit(note_on_cpu, path, "cpu")
    world.submit(note, path, "first")
    world.submit(note, path, "mail", to_be=Options(queue="mail"))
    world.submit(note, path, "second")
    world.submit(note, path, "at the front", to_be=Options(at_front=True))
    world.settle()


def submit_from_within(world: World) -> None:
    world.submit(submit_others, world.path("depths.txt"), 2)
    world.submit(submit_from_a_loop, world.path("loop.txt"))
    world.settle()


def wait_for_others(world: World) -> None:
    first = world.submit(double, 4)
    second = world.submit(double, to_be=Options(depends_on=[first.id], result_as="n"))
    world.submit(double_again, to_be=Options(depends_on=[first.id, second.id]))
    failed = world.submit(fail_with, "no")
    after = world.submit(double, 1, to_be=Options(depends_on=[failed.id]))
    world.submit(double, 2, to_be=Options(depends_on=[after.id]))
    tolerant = Options(depends_on=[failed.id], on_dependency_failure="run")
    world.submit(double, 3, to_be=tolerant)
    of_both = Options(depends_on=[first.id, second.id], results_as="numbers")
    world.submit(total, plus=1, to_be=of_both)
    world.settle()


def keep_to_limits(world: World) -> None:
    for _ in range(5):
        world.submit(two_at_once, world.path("two"))
    for tenant in ("a", "b", "a", "b"):
        world.submit(one_a_tenant, world.path("one"), tenant)
    world.submit(one_that_fails, world.path("fails"))
    world.submit(one_that_fails, world.path("fails as well"))
    world.settle()


def be_unique(world: World) -> None:
    first = world.submit(refresh, "a")
    assert world.submit(refresh, "a").id == first.id != world.submit(refresh, "b").id
    world.settle()
    assert world.submit(refresh, "a").id != first.id
    world.settle()


def fail_and_be_retried(world: World) -> None:
    path = world.folder / "there"
    failed = world.submit(fail_until_there, str(path))
    dependent = world.submit(double, 1, to_be=Options(depends_on=[failed.id]))
    world.settle()
    with pytest.raises(Problem):
        dependent.retry()  # it waits for one that has failed
    path.write_text("now it is")
    failed.retry()
    dependent.retry()
    world.settle()
    assert failed.result(timeout=5) == "now it is"


def be_canceled(world: World) -> None:
    canceled = world.submit(echo, 1)
    world.submit(double, 1, to_be=Options(depends_on=[canceled.id]))
    later = world.submit(echo, 2, to_be=Options(delay=3600))
    limited = [world.submit(one_a_tenant, world.path("one"), "a") for _ in range(3)]
    assert canceled.cancel() and later.cancel() and limited[1].cancel()
    world.settle()
    with pytest.raises(Problem):
        limited[0].cancel()


def come_later(world: World) -> None:
    path = world.path("order.txt")
    soon = datetime.now(UTC) + timedelta(seconds=6)
    world.submit(note, path, "at a time", to_be=Options(at=soon))
    world.submit(note, path, "delayed", to_be=Options(delay=1))
    world.submit(note, path, "at once")
    world.wait(6)
    world.settle()


def expire(world: World) -> None:
    late = world.submit(echo, 1, to_be=Options(expires=datetime.now(UTC) + timedelta(seconds=1)))
    world.submit(echo, 2, to_be=Options(expires=datetime.now(UTC) + timedelta(hours=1)))
    world.submit(double, 1, to_be=Options(depends_on=[late.id]))
    world.wait(1)
    world.settle()


def be_the_same_by_its_key(world: World) -> None:
    once = Options(idempotency_key="k")
    assert world.submit(echo, 1, to_be=once).id == world.submit(echo, 1, to_be=once).id
    with pytest.raises(Problem):
        world.submit(echo, 2, to_be=once)
    world.settle()
    world.submit(echo, 1, to_be=once)


def come_in_a_batch(world: World) -> None:
    with world.api() as api:
        body = [{"kind": kind} for kind in ("value", "key", "permanent")]
        batch = api.post("/tasks/fail_as/batch", json=body)
        assert batch.status_code == 202, batch.text
        rows = [{"n": 1}, {"n": 2}]
        doubled = api.post("/tasks/double/batch", json=rows).headers["Location"]
        world.settle()
        counts = api.get(batch.headers["Location"]).json()["counts"]
        assert counts["failed"] == 3
        assert api.get(doubled).json()["counts"]["finished"] == 2
        lines = api.get(f"{doubled}/results").text.splitlines()
        assert len(lines) == 2 and '"result":4' in lines[1].replace(" ", "")
        assert api.post(f"{batch.headers['Location']}/retry").status_code == 202
        # They are retried one after the other, after the answer.
        eventually(lambda: [job.attempts for job in _settled(world)] == [8, 2, 2, 1, 1])


def _settled(world: World) -> list[JobRecord]:
    world.settle()
    return world.paddock.jobs


SCENARIOS = [
    *(return_what_there_is, fail_in_all_kinds, succeed_in_the_end, go_by_the_queues_priority),
    *(submit_from_within, wait_for_others, keep_to_limits, be_unique, fail_and_be_retried),
    *(be_canceled, come_later, expire, be_the_same_by_its_key, come_in_a_batch),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_jobs_do_the_same_in_the_kit_and_on_workers(
    scenario: Callable[[World], None], in_the_kit: World, on_workers: World
) -> None:
    for world in (in_the_kit, on_workers):
        scenario(world)
    expected = on_workers.told()
    assert expected["jobs"] and in_the_kit.told() == expected

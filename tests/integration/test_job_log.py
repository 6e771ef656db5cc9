"""What jobs print and log is kept with them, whatever process they run in and however they end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from jobs.catalogue import Catalogue
from service.broker.log import Log
from service.broker.records import JobRecord
from service.broker.status import Status
from service.execution.limits import die_with_parent
from service.settings import Settings
from tests.conftest import ROOT, RedisServer, a_redis, eventually
from tests.integration.conftest import ALL_TASKS, Jobs

PROMPT = 30.0  # seconds; bounds hangs only, and is less than a job may take
KINDS = ("say_in_process", "say_shared", "say_in_loop", "say_in_thread")


class Place:
    """A Redis, a worker and an io worker, for all tests of this module."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server, self.client, self.stderr = server, server.client, folder / "stderr"
        settings = Settings(redis_url=server.url, data_dir=folder, tasks=ALL_TASKS)
        self._environment = os.environ | settings.environment() | {"PADDOCK_TIMEOUT_GRACE": "0.5"}
        self.jobs = Jobs(server.url, Catalogue.load(ALL_TASKS))
        self.worker, self.io_worker = self._start(), self._start("--io")
        eventually(lambda: self.client.scard("rq:workers") == 2)

    def log(self, job_id: str) -> Log:
        return self.jobs.broker.log(job_id)

    def close(self) -> None:
        self.jobs.close()
        for process in (self.worker, self.io_worker):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        parent = os.getpid()
        with self.stderr.open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "worker.py", *arguments],
                cwd=ROOT,
                env=self._environment,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_redis() as server:
        place = Place(server, tmp_path_factory.mktemp("place"))
        yield place
        place.close()


@pytest.fixture
def jobs(place: Place) -> Jobs:
    return place.jobs


def told(log: Log) -> list[tuple[str, str | None, str]]:
    return [(line.stream, line.level, line.text) for line in log.lines]


def texts(log: Log) -> list[str]:
    return [line.text for line in log.lines]


def replace_shared_process(jobs: Jobs) -> None:
    """Have the next shared job begin a new one, which is not too old in the middle of a test."""
    jobs.ended(jobs.submit("leave_a_shared_child", path=""))


# What it says


@pytest.mark.parametrize("task", KINDS)
def test_what_a_job_prints_and_logs_is_kept_in_its_order(
    place: Place, jobs: Jobs, task: str
) -> None:
    began = time.time()
    job_id = jobs.submit(task, name="A")
    assert jobs.ended(job_id).status == Status.FINISHED
    log = place.log(job_id)
    said = [line for line in told(log) if not line[2].startswith(("  ", "A t", "A ex"))]
    assert said[:4] == [
        ("stdout", None, "A out"),
        ("stderr", None, "A err"),
        ("log", "INFO", "A logged"),
        ("stdout", None, "A begun and ended"),
    ]
    assert said[4:7] == [
        ("log", "ERROR", "A went wrong"),
        ("log", "ERROR", "Traceback (most recent call last):"),
        ("log", "ERROR", "ValueError: A as told"),
    ]
    # Without an end; where another piece of output came after it, it is that line's beginning.
    assert any(text.startswith("A last") for text in texts(log))
    times = [line.at.timestamp() for line in log.lines]
    assert began - 1 < times[0] and times[-1] < time.time() + 1
    assert all(before <= after for before, after in pairwise(times))
    assert log.dropped == 0


@pytest.mark.parametrize("task", KINDS)
def test_jobs_of_one_process_do_not_mix_their_output(place: Place, jobs: Jobs, task: str) -> None:
    replace_shared_process(jobs)
    names = [f"job{number}" for number in range(8)]
    ids = jobs.submit_many(task, [{"name": name} for name in names])
    pids = {jobs.ended(job_id).result for job_id in ids}
    assert (len(pids) == 1) == (task != "say_in_process")
    for job_id, name in zip(ids, names, strict=True):
        named = re.findall(r"job\d", str(place.log(job_id)))
        assert len(named) >= 7 and set(named) == {name}


def test_what_a_loops_tasks_and_threads_print_is_their_jobs(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("say_in_loop", name="A")
    jobs.ended(job_id)
    text = str(place.log(job_id))
    for end in ("task 0", "task 1", "task 2", "thread", "executor"):
        assert f"A {end}" in text


def test_bytes_and_long_lines_are_kept_as_far_as_they_can_be(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("write_bytes")
    assert jobs.ended(job_id).status == Status.FINISHED
    binary, wide, exact, half, bar, logged = texts(place.log(job_id))
    assert binary == "\\xff\x00"
    assert wide == "ü" * 4096 + " […8192 more bytes were cut off]"
    assert exact == "x" * 8192
    assert half == "half of a pair: \\ud800"
    assert bar == "100 %"  # as a terminal shows it at the end
    assert logged == "y" * 7000


def test_what_children_and_c_code_write_is_kept(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("write_below_python")
    assert jobs.ended(job_id).status == Status.FINISHED
    assert sorted(told(place.log(job_id))) == [
        ("stderr", None, "its error"),
        ("stdout", None, "from C code"),
        ("stdout", None, "from a child"),
        ("stdout", None, "from a fork"),
        ("stdout", None, "from the system"),
    ]


# Whose it is


def test_a_process_that_a_job_leaves_holds_up_nobody_and_writes_aside(
    place: Place, jobs: Jobs, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    job_id = jobs.submit("leave_a_child_that_writes", path=str(gate))
    child = jobs.ended(job_id).result
    gate.unlink()
    eventually(lambda: not Path(f"/proc/{child}").exists())
    eventually(lambda: "late" in place.stderr.read_text())  # seen when the worker looks around
    assert texts(place.log(job_id)) == ["begun"]


def test_what_a_thread_prints_after_its_job_is_no_other_jobs(
    place: Place, jobs: Jobs, tmp_path: Path
) -> None:
    replace_shared_process(jobs)
    gate = tmp_path / "gate"
    gate.touch()
    first = jobs.submit("leave_a_thread_that_prints", path=str(gate))
    pid = jobs.ended(first).result
    others = jobs.submit_many("say_shared", [{"name": "B"}] * 20)
    assert {jobs.ended(job_id).result for job_id in others} == {pid}
    gate.unlink()
    assert not any("not mine" in text for each in others for text in texts(place.log(each)))
    eventually(lambda: "not mine any more" in place.stderr.read_text())


def test_a_process_with_something_left_in_it_runs_no_other_job(place: Place, jobs: Jobs) -> None:
    first, second = (jobs.submit("leave_a_shared_child", path="") for _ in range(2))
    assert jobs.ended(first).result != jobs.ended(second).result


@pytest.mark.parametrize(
    ("spoil", "say"), [("spoil_shared", "say_shared"), ("spoil_in_loop", "say_in_loop")]
)
def test_a_process_that_can_not_be_heard_any_more_is_given_no_other_job(
    place: Place, jobs: Jobs, spoil: str, say: str
) -> None:
    spoilt = jobs.ended(jobs.submit(spoil)).result
    assert isinstance(spoilt, int)
    job_id = jobs.submit(say, name="B")
    assert jobs.ended(job_id).result != spoilt
    assert "B out" in texts(place.log(job_id))


# However it ends


def test_nothing_is_lost_of_what_was_printed_before_a_kill(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("die_in_the_middle", lines=2000)
    assert jobs.ended(job_id).status == Status.FAILED
    said = texts(place.log(job_id))
    assert [text for text in said if text.startswith("line")] == [f"line {n}" for n in range(2000)]
    assert "by a child" in said and "not ended" in said
    assert shown(jobs[job_id]) == (0.5, "about to die")


def test_nor_of_what_a_job_in_a_loop_has(place: Place, jobs: Jobs) -> None:
    beside = jobs.submit("say_in_loop", name="A")
    job_id = jobs.submit("die_in_loop", lines=2000)
    assert jobs.ended(job_id).status == Status.FAILED
    assert texts(place.log(job_id)) == [*(f"line {n}" for n in range(2000)), "not ended"]
    assert jobs[job_id].progress.message == "about to die"
    assert jobs.ended(beside).status == Status.FINISHED


def test_a_job_that_prints_without_end_is_stopped_by_its_timeout(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("print_until_timeout", timeout=3)
    job = jobs.ended(job_id, PROMPT)
    assert job.error is not None and "Timeout" in job.error.type
    log = place.log(job_id)
    assert log.dropped > 0 and 5_000 < len(log.lines) <= 10_000


def test_nor_does_it_escape_a_cancel_fill_the_worker_or_flood_redis(
    place: Place, jobs: Jobs
) -> None:
    memory, received = resident(place.worker.pid), network_input(place.client)
    job_id = jobs.submit("print_without_end")
    eventually(lambda: place.log(job_id).lines)
    time.sleep(1.5)
    jobs.broker.actions.cancel(job_id)
    assert jobs.ended(job_id, PROMPT).status == Status.CANCELED
    assert resident(place.worker.pid) - memory < 32 << 20
    assert network_input(place.client) - received < 8 << 20
    assert place.client.memory_usage(f"rq:job:{job_id}:journal", samples=0) < 3 << 20


def test_a_flood_in_a_loop_waits_for_nobody_and_says_what_is_missing(
    place: Place, jobs: Jobs, tmp_path: Path
) -> None:
    gate, lines = tmp_path / "gate", 15_000
    job_id = jobs.submit("flood_the_loop", path=str(gate), lines=lines)
    eventually(lambda: place.log(job_id).lines)
    os.kill(place.io_worker.pid, signal.SIGSTOP)  # so that nobody reads what the horse writes
    gate.touch()
    eventually(lambda: not gate.exists())
    os.kill(place.io_worker.pid, signal.SIGCONT)
    job = jobs.ended(job_id)
    assert (job.status, job.attempts, job.progress.message) == ("finished", 1, "told at last")
    _, *said = texts(place.log(job_id))
    numbers = [int(number) for text in said for number in re.findall(r"^(\d+) x{60}$", text)]
    marks = [int(number) for text in said for number in re.findall(r"^\[… (\d+) lines were", text)]
    assert numbers[:1000] == list(range(1000)) and numbers == sorted(numbers)
    assert marks and abs(len(numbers) + sum(marks) - lines) <= len(marks)  # of torn lines
    assert place.log(job_id).dropped == sum(marks)


def test_of_many_lines_the_last_ten_thousand_are_kept(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("print_many", lines=25_000)
    assert jobs.ended(job_id).status == Status.FINISHED
    log = place.log(job_id)
    assert texts(log) == [f"line {number}" for number in range(15_000, 25_000)]
    assert log.dropped == 15_000
    # Kept as long as the job, and gone with it.
    key = f"rq:job:{job_id}"
    assert place.client.ttl(f"{key}:journal") == pytest.approx(place.client.ttl(key), abs=30)
    jobs.broker.actions.delete(job_id)
    assert not place.client.keys(f"*{job_id}*")


def test_the_log_of_all_attempts_is_one(place: Place, jobs: Jobs, tmp_path: Path) -> None:
    job_id = jobs.submit("fail_once", path=str(tmp_path / "runs"))
    assert jobs.ended(job_id).attempts == 2
    assert texts(place.log(job_id)) == ["attempt 1", "attempt 2"]
    # What the first attempt said of itself is not the second's.
    assert shown(jobs[job_id]) == (None, "again")


# How far it is


@pytest.mark.parametrize(
    ("task", "looks"),
    [
        ("go_step_by_step", [(0.0, "steps"), (0.25, "steps"), (0.5, "steps")]),
        ("go_step_by_step_in_loop", [(None, "steps: 0"), (None, "steps: 1"), (None, "steps: 2")]),
    ],
)
def test_progress_and_log_are_seen_while_the_job_runs(
    place: Place, jobs: Jobs, tmp_path: Path, task: str, looks: list[tuple[float | None, str]]
) -> None:
    path = tmp_path / "step"
    job_id = jobs.submit(task, path=str(path), steps=4)
    for step, expected in enumerate(looks):
        eventually(lambda: texts(place.log(job_id)) == [f"step {n}" for n in range(step + 1)])
        eventually(lambda: shown(jobs[job_id]) == expected)
        assert jobs.status(job_id) == Status.RUNNING
        Path(f"{path}-{step}").touch()
    Path(f"{path}-3").touch()
    assert jobs.ended(job_id).status == Status.FINISHED
    assert shown(jobs[job_id]) in [(1.0, "steps"), (None, "steps: 4")]


def test_a_fast_loop_writes_five_times_a_second_at_most(place: Place, jobs: Jobs) -> None:
    began = time.monotonic()
    job_id = jobs.submit("track_many", count=5_000_000)
    jobs.ended(job_id)
    seconds = time.monotonic() - began
    assert jobs[job_id].progress.fraction == 1.0
    reports = int(place.client.hget(f"rq:job:{job_id}", "progress_reports"))
    assert 1 <= reports <= 5 * seconds + 2


def test_a_wrong_report_fails_the_job(place: Place, jobs: Jobs) -> None:
    job = jobs.ended(jobs.submit("report_wrongly"))
    assert job.error is not None and job.error.message.startswith("fraction=1.5: it goes from 0")


def test_a_job_that_reports_nothing_leaves_nothing(place: Place, jobs: Jobs) -> None:
    job_id = jobs.submit("sleep", seconds=0)
    assert jobs.ended(job_id).progress is None
    assert place.log(job_id) == Log([], 0)
    assert not place.client.hexists(f"rq:job:{job_id}", "log_lines")


def shown(job: JobRecord) -> tuple[float | None, str | None] | None:
    return job.progress and (job.progress.fraction, job.progress.message)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def network_input(client: "redis.Redis") -> int:
    return int(client.info("stats")["total_net_input_bytes"])

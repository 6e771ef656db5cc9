"""`paddock watch|logs|top` and `submit --wait`, on a terminal and in a pipe."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.catalogue import Catalogue
from tests.acceptance.conftest import ALL_TASKS, PADDOCK, environment
from tests.conftest import PATIENCE, ROOT, RedisServer, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs
from tests.integration.streams import Journalist

TASKS = f"{ALL_TASKS},tests.sample_reporting_tasks"
ALTERNATE, PRIMARY = "\x1b[?1049h", "\x1b[?1049l"  # screens of a terminal


class Command:
    """`paddock …` while it runs, with its output in pipes."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        self.process = subprocess.Popen(
            [PADDOCK, *arguments],
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1", **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = _Collected(self.process.stdout), _Collected(self.process.stderr)

    def ended(self) -> int:
        status = self.process.wait(timeout=PATIENCE)
        self.out.thread.join()
        self.err.thread.join()
        return status


class _Collected:
    """What came out of a pipe so far."""

    def __init__(self, pipe: object) -> None:
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._collect, args=(pipe,), daemon=True)
        self.thread.start()

    def _collect(self, pipe: "Iterator[str]") -> None:
        for line in pipe:
            self.lines.append(line.rstrip("\n"))


class Terminal:
    """`paddock …` on a terminal."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [PADDOCK, *arguments],
            cwd=ROOT,
            env=environment(TERM="xterm-256color", **settings),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._slave = slave
        self.shown = ""
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def sees(self, pattern: str) -> None:
        eventually(lambda: re.search(pattern, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.shown)))

    def ended(self) -> int:
        status = self.process.wait(timeout=PATIENCE)
        assert termios.tcgetattr(self._slave) == self.before
        os.close(self._slave)
        self.thread.join(timeout=PATIENCE)
        os.close(self._master)
        return status

    def _collect(self) -> None:
        with contextlib.suppress(OSError):  # nobody holds its other end any more
            while data := os.read(self._master, 65_536):
                self.shown += data.decode(errors="replace")


@pytest.fixture
def settings_of_command(redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PADDOCK_REDIS_URL": redis_url,
        "PADDOCK_DATA_DIR": str(tmp_path),
        "PADDOCK_TASKS": TASKS,
    }


Run = Callable[..., Command]
Work = Callable[[], object]
Open = Callable[..., Terminal]


@pytest.fixture
def run(settings_of_command: dict[str, str]) -> Iterator[Run]:
    started: list[Command] = []

    def run_it(*arguments: str, **settings: str) -> Command:
        started.append(Command(*arguments, **settings_of_command | settings))
        return started[-1]

    yield run_it
    for command in started:
        command.process.kill()
        command.ended()
        command.process.stdout.close()
        command.process.stderr.close()


@pytest.fixture
def terminal(settings_of_command: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def open_it(*arguments: str) -> Terminal:
        started.append(Terminal(*arguments, **settings_of_command))
        return started[-1]

    yield open_it
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def work(start_worker: Start) -> Callable[[], object]:
    return lambda: start_worker(PADDOCK_TASKS=TASKS)


@pytest.fixture
def jobs(redis_url: str) -> Iterator[Jobs]:
    opened = Jobs(redis_url, Catalogue.load(TASKS.split(",")))
    yield opened
    opened.close()


def go(path: Path, *steps: int) -> None:
    for step in steps:
        Path(f"{path}-{step}").touch()


def test_in_a_pipe_a_job_is_told_of_in_plain_lines(run: Run, work: Work, tmp_path: Path) -> None:
    work()
    path = tmp_path / "step"
    waiting = run("submit", "go_step_by_step", f"path={path}", "steps=4", "--wait")
    for step in range(2):
        eventually(lambda: f"step {step}" in waiting.err.lines)  # noqa: B023
        go(path, step)
        told = f" {25 * (step + 1)} % steps"
        eventually(lambda: any(line.endswith(told) for line in waiting.err.lines))  # noqa: B023
    go(path, 2, 3)
    assert waiting.ended() == 0, waiting.err.lines
    told = waiting.err.lines
    job_id = told[0].split()[0]
    assert f"{job_id} running" in told and told[-1] == f"{job_id} finished"
    assert [line for line in told if line.startswith("step")] == [f"step {n}" for n in range(4)]
    assert waiting.out.lines[0] == f"{job_id}  go_step_by_step  finished"
    assert not any(ord(each) < 32 for each in "".join(told + waiting.out.lines))


def test_a_job_that_fails_is_watched_with_status_1(jobs: Jobs, run: Run, work: Work) -> None:
    job_id = jobs.submit("fail_as", kind="key")
    watching = run("watch", job_id)
    eventually(lambda: watching.out.lines == [f"{job_id} queued"])
    work()
    assert watching.ended() == 1
    assert f"{job_id} failed" in watching.out.lines
    assert any("error       KeyError" in line for line in watching.out.lines)


def test_ctrl_c_leaves_the_job_running_and_says_so(
    run: Run, work: Work, connection: redis.Redis
) -> None:
    work()
    waiting = run("submit", "sleep", "seconds=60", "--wait")
    eventually(lambda: any(line.endswith(" running") for line in waiting.err.lines))
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.ended() == 130
    job_id = waiting.err.lines[0].split()[0]
    assert waiting.err.lines[-1] == f"{job_id} goes on: `paddock watch {job_id}` shows it again."
    assert connection.hget(f"rq:job:{job_id}", "status") == b"started"
    assert not connection.hexists(f"rq:job:{job_id}", "cancel_requested")


def test_a_log_is_printed_followed_and_read_by_programs(
    jobs: Jobs, run: Run, work: Work, tmp_path: Path
) -> None:
    work()
    path = tmp_path / "step"
    job_id = jobs.submit("go_step_by_step", path=str(path), steps=2)
    following = run("logs", "-f", job_id)
    eventually(lambda: following.out.lines == ["step 0"])
    assert following.process.poll() is None
    go(path, 0, 1)
    assert (following.ended(), following.out.lines) == (0, ["step 0", "step 1"])
    as_json, timed = run("logs", job_id, "--json"), run("logs", job_id, "-t")
    assert as_json.ended() == timed.ended() == 0
    lines = [json.loads(line) for line in as_json.out.lines]
    assert [(line["stream"], line["level"], line["text"]) for line in lines] == [
        ("stdout", None, "step 0"),
        ("stdout", None, "step 1"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z stdout +step 0", timed.out.lines[0])


@pytest.mark.parametrize("how", [(), ("-f",)])
def test_of_a_log_that_was_too_long_it_says_what_is_not_kept(
    jobs: Jobs, run: Run, work: Work, connection: redis.Redis, how: tuple[str, ...]
) -> None:
    work()
    job_id = jobs.submit("print_many", lines=3)
    jobs.ended(job_id)
    connection.hset(f"rq:job:{job_id}", "log_lines", 10)
    printed = run("logs", *how, job_id)
    assert printed.ended() == 0
    assert (len(printed.out.lines), printed.err.lines) == (3, ["The first 7 lines are not kept."])


def test_a_log_that_is_followed_tells_once_that_redis_is_away_and_goes_on(
    own: RedisServer, catalogue: Catalogue, run: Run
) -> None:
    jobs, hand = Jobs(own.url, catalogue), ByHand(own.client, "default")
    job_id, journalist = jobs.submit("echo"), Journalist(own.client)
    claim = hand.claim()
    journalist.log(job_id, "before")
    following = run("logs", "-f", job_id, PADDOCK_REDIS_URL=own.url)
    eventually(lambda: following.out.lines == ["before"])
    own.kill()
    eventually(lambda: following.err.lines)
    own.start()
    Journalist(own.client).log(job_id, "after")
    assert hand.settle(claim)
    assert (following.ended(), following.out.lines) == (0, ["before", "after"])
    (told,) = following.err.lines
    assert told.startswith("Redis does not answer")
    jobs.close()


def test_all_jobs_are_told_of_as_they_change(jobs: Jobs, run: Run, work: Work) -> None:
    watching = run("watch", "--task", "echo")
    jobs.submit("sleep", seconds=0)
    ids = set[str]()

    def is_seen() -> bool:  # one that was submitted before it listened is not told of
        ids.add(jobs.submit("echo"))
        time.sleep(0.1)
        return bool(watching.out.lines)

    eventually(is_seen)
    work()
    eventually(lambda: any(" finished default echo" in line for line in watching.out.lines))
    assert not any("sleep" in line for line in watching.out.lines)
    assert {line.split()[1] for line in watching.out.lines} <= ids
    assert {"queued", "running", "finished"} <= {line.split()[2] for line in watching.out.lines}
    watching.process.send_signal(signal.SIGINT)
    assert (watching.ended(), watching.err.lines) == (0, [])


def test_on_a_terminal_a_bar_moves_below_the_log(
    jobs: Jobs,
    run: Run,
    terminal: Open,
    work: Work,
    tmp_path: Path,
) -> None:
    path = tmp_path / "step"
    job_id = jobs.submit("go_step_by_step", path=str(path), steps=4)
    watching = terminal("watch", job_id)
    watching.sees("queued")
    work()
    watching.sees("step 0")
    go(path, 0)
    watching.sees("━.* 25%.*steps")
    go(path, 1)
    watching.sees("━.* 50%.*steps")
    go(path, 2, 3)
    assert watching.ended() == 0
    assert f"{job_id}  go_step_by_step  finished" in watching.shown


def test_top_shows_all_there_is_until_q_is_pressed(
    jobs: Jobs,
    run: Run,
    terminal: Open,
    work: Work,
    tmp_path: Path,
) -> None:
    work()
    path = tmp_path / "step"
    job_id = jobs.submit("go_step_by_step", path=str(path), steps=4)
    jobs.broker.queue_actions.pause("mail", ["mail"])
    top = terminal("top", "--interval", "0.2")
    top.sees(f"{job_id} go_step")
    top.sees("mail +paused")
    go(path, 0)
    top.sees("━.* 25%")
    once, as_json = run("top"), run("top", "--json")
    assert (once.ended(), as_json.ended()) == (0, 0)
    assert any(line.startswith(f"job {job_id} go_step_by_step") for line in once.out.lines)
    assert any(line.startswith("queue mail: paused; 0 queued") for line in once.out.lines)
    (worker,) = [line for line in once.out.lines if line.startswith("worker ")]
    assert worker.endswith(f"busy on default,cpu,mail, runs {job_id}")
    seen = json.loads(as_json.out.lines[0])
    assert [job["id"] for job in seen["running"]] == [job_id]
    top.press("q")
    assert top.ended() == 0
    assert top.shown.index(ALTERNATE) < top.shown.rindex(PRIMARY)


def test_on_a_terminal_all_jobs_are_a_table_that_ctrl_c_ends(
    jobs: Jobs, run: Run, terminal: Open, connection: redis.Redis
) -> None:
    before = jobs.submit("echo")
    table = terminal("watch")
    table.sees(f"{before} echo .*queued.* default")
    connection.hset(f"rq:job:{before}", "description", "\x1b[31mred")
    after = jobs.submit("echo", delay=60)
    table.sees(f"{after} echo .*scheduled.* default")
    table.press("\x03")
    assert table.ended() == 0
    assert PRIMARY in table.shown


def test_what_is_not_there_is_told_of(run: Run) -> None:
    for refused in [run("watch", "none"), run("logs", "-f", "none")]:
        assert (refused.ended(), refused.out.lines) == (1, [])
        assert "There is no job 'none'" in refused.err.lines[0]

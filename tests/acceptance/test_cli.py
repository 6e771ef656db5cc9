"""`paddock submit|jobs|status|retry|cancel|pause|resume|check`, as shells and scripts use them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.catalogue import Catalogue
from tests.acceptance.conftest import PADDOCK, environment, paddock
from tests.conftest import ROOT, RedisServer, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(redis_url: str, tmp_path: Path) -> Run:
    """Run `paddock` to its end, on a Redis without workers."""

    def run_it(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        own = {"PADDOCK_REDIS_URL": redis_url, "PADDOCK_DATA_DIR": str(tmp_path)}
        return paddock(*arguments, **own | settings)

    return run_it


@pytest.fixture
def work(redis_url: str, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`paddock work` on the same Redis."""
    process = subprocess.Popen(
        [PADDOCK, "work", "--count", "1"],
        cwd=ROOT,
        env=environment(PADDOCK_REDIS_URL=redis_url, PADDOCK_DATA_DIR=str(tmp_path)),
        text=True,
    )
    yield process
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture
def jobs(redis_url: str, catalogue: Catalogue) -> Iterator[Jobs]:
    opened = Jobs(redis_url, catalogue)
    yield opened
    opened.close()


def document(ended: "subprocess.CompletedProcess[str]") -> Any:
    assert ended.stdout.count("\n") == 1, ended
    return json.loads(ended.stdout)


def test_a_job_is_submitted_looked_at_and_canceled(run: Run) -> None:
    submitted = run("submit", "echo", "value=a", "--json")
    assert submitted.returncode == 0, submitted.stderr
    job = document(submitted)
    assert (job["status"], job["parameters"]) == ("queued", {"value": "a"})

    shown = run("status", job["id"], "--json")
    assert (shown.returncode, document(shown)["id"]) == (0, job["id"])
    as_text = run("status", job["id"])
    assert as_text.stdout.startswith(f"{job['id']}  echo  queued\n")

    canceled = run("cancel", job["id"], "--json")
    assert (canceled.returncode, document(canceled)["status"]) == (0, "canceled")
    again = run("cancel", job["id"])
    assert (again.returncode, again.stdout) == (1, "")
    assert "canceled" in again.stderr


def test_options_and_lists_reach_the_job(run: Run) -> None:
    job = document(
        run(
            *("submit", "describe", "count=1", "tags=a", "tags=b", 'sizes={"a": 1}', "--json"),
            *("--queue", "cpu", "--timeout", "5", "--delay", "60"),
        )
    )
    assert (job["status"], job["queue"]) == ("scheduled", "cpu")
    assert (job["parameters"]["tags"], job["parameters"]["sizes"]) == (["a", "b"], {"a": 1})


def test_a_chain_is_submitted_from_a_shell(run: Run, work: "subprocess.Popen[str]") -> None:
    first = document(run("submit", "echo", "value=21", "--delay", "1", "--json"))
    chained = run(
        *("submit", "echo", "--depends-on", first["id"], "--result-as", "value"),
        *("--wait", "--json"),
    )
    job = document(chained)
    assert (chained.returncode, job["result"], job["depends_on"]) == (0, "21", [first["id"]])
    assert f"depends on  {first['id']}" in run("status", job["id"]).stdout


@pytest.mark.parametrize(
    ("task", "given", "exit_status", "status"),
    [
        ("heavy_cpu_task", "n=10", 0, "finished"),
        ("fail_as", "kind=key", 1, "failed"),
    ],
)
def test_wait_follows_a_job_to_its_end_and_exits_by_it(
    run: Run, work: "subprocess.Popen[str]", task: str, given: str, exit_status: int, status: str
) -> None:
    ended = run("submit", task, given, "--wait", "--json")
    assert (ended.returncode, document(ended)["status"]) == (exit_status, status)

    as_text = run("status", document(ended)["id"])
    assert as_text.returncode == 0
    assert ("result      285" if status == "finished" else "error       KeyError") in as_text.stdout


def test_failed_jobs_are_retried_one_or_all(run: Run, work: "subprocess.Popen[str]") -> None:
    failed = [
        document(run("submit", "fail_as", "kind=key", "--wait", "--json"))["id"] for _ in range(2)
    ]
    one = run("retry", failed[0], "--json")
    assert one.returncode == 0, one.stderr

    def attempts() -> list[int]:
        shown = [document(run("status", job_id, "--json")) for job_id in failed]
        return [job["attempts"] for job in shown if job["status"] == "failed"]

    eventually(lambda: attempts() == [2, 1])
    rest = run("retry", "--failed", "--json")
    assert sorted(document(rest)["retried"]) == sorted(failed)
    eventually(lambda: attempts() == [3, 2])


def test_retrying_what_has_not_failed_is_refused(run: Run) -> None:
    job_id = document(run("submit", "echo", "--json"))["id"]
    refused = run("retry", job_id)
    assert refused.returncode == 1
    assert "Only a failed job can be retried" in refused.stderr
    assert run("retry", "--failed").stdout == "0 queued again\n"


def test_jobs_are_listed_newest_first_and_those_that_fit_canceled(run: Run, jobs: Jobs) -> None:
    ids = [
        jobs.submit("echo"),
        jobs.submit("echo", queue="cpu"),
        jobs.submit("echo", queue="cpu", delay=60),
    ]
    listed = run("jobs", "--queue", "cpu", "--since", "1h").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [ids[2], ids[1]]
    assert listed[0].split()[-3:] == ["scheduled", "cpu", "echo"]
    as_json = run("jobs", "--limit", "1", "--status", "queued", "--json")
    assert document(as_json)["id"] == ids[1]
    assert document(run("cancel", "--task", "echo", "--queue", "cpu", "--json")) == {
        "canceled": 2,
        "stopping": 0,
    }
    assert "  canceled by the command line (" in run("status", ids[1]).stdout


def test_failed_jobs_of_a_task_are_run_again(run: Run, jobs: Jobs, connection: redis.Redis) -> None:
    ids = [jobs.submit("echo"), jobs.submit("sleep", seconds=0)]
    hand = ByHand(connection, "default")
    assert [hand.fail_one(), hand.fail_one()] == ids
    retried = document(run("retry", "--failed", "--task", "echo", "--since", "1d", "--json"))
    assert retried == {"retried": ids[:1], "skipped": 0}
    assert run("retry", "--failed").stdout == "1 queued again\n"


def test_a_queue_is_paused_and_resumed(run: Run) -> None:
    run("submit", "echo")
    assert run("pause", "default").stdout == "default is paused: 1 queued, 0 running\n"
    resumed = document(run("resume", "default", "--json"))
    assert (resumed["name"], resumed["paused"]) == ("default", False)


def test_a_job_may_be_given_a_time_to_be_started_within(run: Run) -> None:
    job = document(run("submit", "echo", "--expires-in", "60", "--delay", "5", "--json"))
    assert job["expires_at"] > job["scheduled_for"] > job["enqueued_at"]


@pytest.mark.parametrize(
    ("arguments", "exit_status", "reason"),
    [
        (["submit", "no_such_task"], 2, "There is no task 'no_such_task'"),
        (["submit", "heavy_cpu_task"], 2, "n: Field required"),
        (["submit", "heavy_cpu_task", "n=-1"], 2, "n: Input should be greater than or equal to 0"),
        (["submit", "heavy_cpu_task", "n"], 2, "'n' has no '='"),
        (["submit", "heavy_cpu_task", "n=1", "m=2"], 2, "m: "),
        (["submit", "heavy_cpu_task", "n=1", "--timeout", "0"], 2, "--timeout"),
        (["submit", "heavy_cpu_task", "n=1", "--delay", "-1"], 2, "--delay"),
        (["submit"], 2, "Missing argument"),
        (["submit", "echo", "--depends-on", "none"], 2, "There is no job 'none'"),
        (["submit", "echo", "--result-as", "value"], 2, "needs exactly one job"),
        (["status", "no-such-job"], 1, "There is no job 'no-such-job'"),
        (["cancel", "no-such-job"], 1, "There is no job 'no-such-job'"),
        (["retry", "no-such-job"], 1, "There is no job 'no-such-job'"),
        (["cancel"], 2, "Give either the ID of a job, or which"),
        (["cancel", "--status", "failed"], 2, "--status"),
        (["cancel", "--since", "yesterday"], 2, "'yesterday' is neither like 90m"),
        (["retry", "--task", "echo"], 2, "Give either the ID of a job, or --failed"),
        (["submit", "echo", "--expires-in", "5", "--delay", "5"], 2, "before it is queued"),
        (["pause", "none"], 1, "There is no queue 'none'"),
        (["retry"], 2, "Give either the ID of a job, or --failed"),
        (["retry", "some-id", "--failed"], 2, "Give either the ID of a job, or --failed"),
        (["nonsense"], 2, "No such command"),
        (["work", "--count", "0"], 2, "--count"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_asked_wrongly_is_told_on_stderr(
    run: Run, arguments: list[str], exit_status: int, reason: str
) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (exit_status, ""), ended.stderr
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["submit", "echo"], ["status", "an-id"], ["cancel", "an-id"], ["retry", "--failed"]),
        *(["jobs"], ["pause", "cpu"]),
    ],
    ids=" ".join,
)
def test_a_redis_that_is_away_is_told_in_one_line(
    run: Run, tmp_path: Path, arguments: list[str]
) -> None:
    ended = run(*arguments, PADDOCK_REDIS_URL=f"unix://{tmp_path}/nowhere.sock")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr


def test_work_needs_a_redis(run: Run, tmp_path: Path) -> None:
    ended = run("work", PADDOCK_REDIS_URL=f"unix://{tmp_path}/nowhere.sock")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "Redis can't be reached" in ended.stderr


def test_check_shows_what_is_in_force_and_hides_secrets(run: Run) -> None:
    key = "0123456789abcdef"
    checked = run("check", "--json", PADDOCK_API_KEYS=key, PADDOCK_WORKERS="3")
    assert checked.returncode == 0, checked.stderr
    report = document(checked)
    assert (report["settings"]["workers"], report["redis_state"]) == (3, "running")
    assert "heavy_cpu_task" in report["tasks"]
    assert report["mail"].startswith("no PADDOCK_SMTP_URL")
    as_text = run("check", PADDOCK_API_KEYS=key, PADDOCK_WORKERS="3")
    assert "PADDOCK_WORKERS = 3\n" in as_text.stdout
    assert key not in checked.stdout + as_text.stdout


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PADDOCK_REDIS_URL", "redis://127.0.0.1:1"),
        ("PADDOCK_SMTP_URL", "smtp://127.0.0.1:1"),
        ("PADDOCK_SMTP_URL", "http://127.0.0.1"),
        ("PADDOCK_WORKERS", "many"),
        ("PADDOCK_HOST", "0.0.0.0"),
    ],
)
def test_check_exits_2_with_the_settings_name(run: Run, setting: str, value: str) -> None:
    checked = run("check", **{setting: value})
    assert checked.returncode == 2
    assert setting in checked.stderr
    assert checked.stderr.count("\n") == 1


def test_the_command_finds_the_embedded_server_of_its_data_folder(data_dir: Path) -> None:
    data_dir.mkdir()
    server = RedisServer(data_dir)
    server.start()
    job = document(paddock("submit", "echo", "--json", PADDOCK_DATA_DIR=str(data_dir)))
    assert server.client.lrange("rq:queue:default", 0, -1) == [job["id"].encode()]
    server.client.close()
    server.kill()


def test_it_runs_as_a_module_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service.cli", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, "version" in ended.stdout) == (0, True)


def test_a_file_of_parameters_is_submitted_as_a_batch(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"value": 1}\n\n{"value": 2}\n')
    accepted = document(run("submit", "echo", "--batch", str(lines), "--queue", "mail", "--json"))
    assert (accepted["task"], accepted["count"]) == ("echo", 2)
    job = document(run("status", accepted["id"][:30] + "000001", "--json"))
    assert (job["parameters"], job["queue"], job["batch"]) == ({"value": 2}, "mail", accepted["id"])


def test_a_bad_line_of_a_file_is_named(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"n": 1}\n{"n": "many"}\n')
    refused = run("submit", "heavy_cpu_task", "--batch", str(lines))
    assert refused.returncode == 2
    assert "Line 2: n: Input should be a valid integer" in refused.stderr
    assert run("submit", "heavy_cpu_task", "--batch", str(lines), "n=1").returncode == 2

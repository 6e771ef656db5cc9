"""Charts and lines of time: where things stand in them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.api.page.charts import depth, run_times, throughput
from service.api.page.timeline import timeline
from service.api.schemas import ExecutionView
from service.broker.depths import Depth
from service.broker.history import Slot
from service.broker.records import JobRecord
from service.broker.status import Status
from service.history import BOUNDS

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def slot(minute: int, finished: int = 0, failed: int = 0, runs: list[int] | None = None) -> Slot:
    return Slot(
        at=at(60 * minute),
        finished=finished,
        failed=failed,
        canceled=0,
        retried=0,
        run_seconds=0.0,
        wait_seconds=0.0,
        runs=runs or [],
        waits=[],
    )


def test_bars_reach_as_high_as_what_they_stand_for() -> None:
    chart = throughput([slot(0, finished=6, failed=2), slot(1), slot(2, finished=4)])
    assert (chart.most, chart.words) == (8, "10 finished, 2 failed")
    first, nothing, last = chart.columns
    assert [(part.kind, part.top, part.height) for part in first.parts] == [
        ("finished", 25.0, 75.0),
        ("failed", 0.0, 25.0),
    ]
    assert not nothing.parts
    assert [(part.top, part.height) for part in last.parts] == [(50.0, 50.0)]
    assert first.words == "00:00: 6 finished, 2 failed"


def test_one_failure_among_thousands_is_seen() -> None:
    (column,) = throughput([slot(0, finished=9999, failed=1)]).columns
    assert column.parts[1].height == 2.0


def test_a_depth_that_is_new_shows_at_once_and_one_that_is_unknown_is_a_gap() -> None:
    depths = [Depth(at(0), 5), Depth(at(60), None), Depth(at(120), 0)]
    chart = depth(depths, now=10)
    assert chart.words == "10 at most"
    assert [[part.height for part in column.parts] for column in chart.columns] == [[50], [], [100]]
    assert depth([Depth(at(0), None)], now=0).columns[0].parts == []


def test_lines_of_run_times_break_where_nothing_ran() -> None:
    fast, slow = [0] * (len(BOUNDS) + 1), [0] * (len(BOUNDS) + 1)
    fast[3], slow[8] = 10, 10
    chart = run_times([slot(0, runs=fast), slot(1), slot(2, runs=slow), slot(3, runs=slow)])
    assert BOUNDS[7] < chart.most <= BOUNDS[8]
    assert [len(stretch.split()) for stretch in chart.lines["half"]] == [2, 2]
    assert chart.columns[1].words == ""
    assert chart.words.startswith("half within ")
    assert run_times([slot(0)]).words == ""


def job(status: Status, **known: Any) -> JobRecord:
    nothing = dict.fromkeys(
        ("result", "error", "scheduled_for", "expires_at", "worker", "ended_at")
    )
    return JobRecord(
        **nothing
        | {
            "id": "x",
            "task": "echo",
            "status": status,
            "queue": "default",
            "parameters": {},
            "enqueued_at": START,
            "started_at": None,
            "attempts": 1,
            "retries_left": 0,
            "depends_on": [],
            "waiting_for": None,
        }
        | known
    )


def execution(begins: float, ends: float, outcome: str) -> ExecutionView:
    return ExecutionView(
        id="e", worker="w", started_at=at(begins), ended_at=at(ends), outcome=outcome, reason="r"
    )


def test_a_line_of_time_has_the_waits_between_the_executions() -> None:
    line = timeline(
        job(Status.FINISHED), [execution(10, 20, "raised"), execution(50, 100, "returned")]
    )
    assert [(stretch.kind, stretch.seconds) for stretch in line.stretches] == [
        ("waited", 10),
        ("failed", 10),
        ("waited", 30),
        ("ran", 50),
    ]
    assert [(begins, width) for begins, width, _ in line.placed()] == [
        (0, 10),
        (10, 10),
        (20, 30),
        (50, 50),
    ]


def test_a_line_of_time_goes_up_to_now_while_the_job_goes_on() -> None:
    waits = timeline(job(Status.QUEUED), [])
    assert [stretch.kind for stretch in waits.stretches] == ["waited"]
    runs = timeline(job(Status.RUNNING, started_at=at(5)), [])
    assert [stretch.kind for stretch in runs.stretches] == ["waited", "runs"]
    assert runs.stretches[0].seconds == 5


def test_what_is_known_in_part_is_a_line_of_time_all_the_same() -> None:
    assert timeline(job(Status.CANCELED, enqueued_at=None), []).stretches == []
    retried = job(Status.FAILED, enqueued_at=at(100))  # by hand, after its first execution
    line = timeline(retried, [execution(0, 10, "raised"), execution(101, 102, "died")])
    assert [stretch.kind for stretch in line.stretches] == ["failed", "waited", "failed"]
    lost = ExecutionView(
        id="e", worker="w", started_at=None, ended_at=at(9), outcome="lost", reason="lost"
    )
    assert timeline(job(Status.QUEUED), [lost]).stretches[0].kind == "waited"

"""When what waits would be started, played through."""

import pytest

from service.broker.eta import Running, remaining
from service.broker.simulation import PLAYED, Crew, Load, seconds_until

CPU = Crew(["cpu"], [0.0])


@pytest.mark.parametrize(
    ("count", "crews", "seconds"),
    [
        (0, [CPU], 0.0),
        (0, [Crew(["cpu"], [3.0]), Crew(["cpu"], [9.0])], 3.0),
        (3, [CPU], 30.0),
        (3, [CPU, CPU], 10.0),
        (4, [CPU, Crew(["cpu"], [25.0])], 30.0),
        (250, [Crew(["cpu"], [0.0] * 100)], 20.0),
    ],
)
def test_each_free_place_takes_the_next_job(count: int, crews: list[Crew], seconds: float) -> None:
    assert seconds_until("cpu", {"cpu": Load(count, [10.0] * count)}, crews) == seconds


def test_a_worker_serves_its_first_queue_first() -> None:
    loads = {"mail": Load(2, [5.0, 5.0]), "cpu": Load(1, [1.0])}
    first, last = Crew(["mail", "cpu"], [0.0]), Crew(["cpu", "mail"], [0.0])
    assert seconds_until("cpu", loads, [first]) == 11.0
    assert seconds_until("mail", loads, [first]) == 10.0
    assert seconds_until("cpu", loads, [last]) == 1.0
    assert seconds_until("cpu", loads, [first, last]) == 1.0


def test_nobody_can_tell_where_no_worker_serves_the_queue() -> None:
    assert seconds_until("cpu", {"cpu": Load(0, [])}, []) is None
    assert seconds_until("cpu", {"cpu": Load(0, [])}, [Crew(["mail"], [0.0])]) is None


@pytest.mark.parametrize("places", [1, 7, 100])
def test_of_very_many_jobs_several_are_played_as_one(places: int) -> None:
    count, mix = 100 * PLAYED, [1.0, 3.0, 1.0, 1.0, 4.0]
    wait = seconds_until("cpu", {"cpu": Load(count, mix)}, [Crew(["cpu"], [0.0] * places)])
    assert wait == pytest.approx(2.0 * count / places, rel=0.1)


def run(elapsed: float, fraction: float | None = None, at: float = 0.0) -> Running:
    return Running("id", "task", "queue", elapsed, fraction, at)


def test_what_a_job_takes_yet_is_told_by_its_progress_or_by_others_of_its_task() -> None:
    assert remaining(run(2.0), 10.0) == 8.0
    assert remaining(run(2.0), None) is None
    assert remaining(run(40.0), 10.0) == 10.0  # it takes longer than most
    assert remaining(run(30.0, 0.25, 25.0), 10.0) == 70.0
    assert remaining(run(30.0, 0.25, 25.0), None) == 70.0
    assert remaining(run(30.0, 0.001, 25.0), 100.0) == 70.0  # too little to go by
    assert remaining(run(30.0, 1.0, 29.0), 100.0) == 0.0

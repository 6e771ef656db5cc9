"""Which tasks are kept out of the event loop, and for how long."""

import pytest

from jobs import Task
from jobs.policy import Policy
from service.execution.distrust import DISTRUST, Distrust


def _job() -> None:
    pass


TASK = Task(_job, None, Policy())


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.execution.distrust.time.monotonic", lambda: clock.now)
    return clock


def test_a_task_that_has_blocked_the_loop_is_kept_out_for_a_while(clock: Clock) -> None:
    distrust = Distrust()
    distrust.blocked(TASK)
    assert not distrust.spares(TASK)
    clock.now += DISTRUST
    assert distrust.spares(TASK)


def test_one_job_that_had_to_be_killed_is_forgiven_and_a_second_soon_after_is_not(
    clock: Clock,
) -> None:
    distrust = Distrust()
    distrust.killed(TASK)
    clock.now += DISTRUST
    distrust.killed(TASK)
    assert distrust.spares(TASK)
    clock.now += DISTRUST / 2
    distrust.killed(TASK)
    assert not distrust.spares(TASK)

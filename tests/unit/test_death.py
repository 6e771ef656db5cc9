"""How a job ended, in a sentence."""

import pytest

from service.broker.death import Execution, how_it_ended
from service.broker.status import Status
from service.failure import Failure
from tests.records import a_job


def told(status: Status, seconds: float | None, error: Failure | None = None) -> str:
    job = a_job(status=status, error=error)
    return how_it_ended(job, Execution("raised", "raised", "w", seconds), None).detail


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "It finished."),
        (0.0001, "It finished at once."),
        (0.25, "It finished after 250 ms."),
        (12_345, "It finished after 3 h 26 min."),
    ],
)
def test_how_long_it_took_is_told_as_people_say_it(seconds: float | None, words: str) -> None:
    assert told(Status.FINISHED, seconds) == words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "It failed after 3 s with KeyError."),
        ("no such row", "It failed after 3 s with KeyError: no such row."),
        ("No such row.\nLook again.", "It failed after 3 s with KeyError: No such row."),
        ("x" * 300, f"It failed after 3 s with KeyError: {'x' * 199}…"),
    ],
)
def test_an_error_is_told_by_its_type_and_first_line(message: str, words: str) -> None:
    assert told(Status.FAILED, 3, Failure("KeyError", message, "")) == words

"""When the client sends a request again, and how long it pauses before."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.client import Retries
from service.client.retries import Tries, retry_after

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def shortest(low: float, _high: float) -> float:
    return low


def test_pauses_double_up_to_the_longest() -> None:
    tries = Tries(Retries(max=6, total=100, first=0.5, longest=4), uniform=longest)
    pauses = [tries.pause(None) for _ in range(7)]
    assert pauses == [0.5, 1, 2, 4, 4, 4, None]


def test_a_pause_is_any_time_from_none_to_the_longest() -> None:
    tries = Tries(Retries(max=3), uniform=shortest)
    assert [tries.pause(None) for _ in range(4)] == [0, 0, 0, None]
    seen = {Tries(Retries(first=1)).pause(None) for _ in range(200)}
    assert len(seen) == 200 and all(pause is not None and 0 <= pause <= 1 for pause in seen)


def test_thousands_of_tries_are_no_trouble() -> None:
    tries = Tries(Retries(max=5_000, total=1e9), uniform=longest)
    assert [tries.pause(None) for _ in range(5_000)][-1] == Retries().longest


def test_time_counts_from_the_first_failure() -> None:
    clock = Clock()
    tries = Tries(Retries(total=10), clock=clock, uniform=shortest)
    clock.now += 1_000  # in which a caller waited for an answer
    assert tries.pause(None) == 0
    clock.now += 9
    assert tries.pause(None) == 0
    clock.now += 1
    assert tries.pause(None) is None


def test_the_last_pause_is_cut_to_what_is_left() -> None:
    clock = Clock()
    tries = Tries(Retries(total=3, first=2), clock=clock, uniform=longest)
    assert tries.pause(None) == 2
    clock.now += 2
    assert tries.pause(None) == 1


def test_what_the_service_asks_for_comes_on_top() -> None:
    tries = Tries(Retries(total=10, first=0.5), uniform=longest)
    assert tries.pause(3) == 3.5
    assert tries.pause(11) is None  # longer than anybody would wait


def test_a_deadline_may_come_before_the_total() -> None:
    assert Tries(Retries(total=10), within=2, uniform=longest).pause(3) is None
    assert Tries(Retries(total=10), within=0).pause(None) is None


def test_no_retries_are_none() -> None:
    assert Tries(Retries(max=0)).pause(None) is None


def test_there_is_no_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="total=-1"):
        Retries(total=-1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("Tue, 01 Jan 2030 00:00:30 -0000", 30),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds

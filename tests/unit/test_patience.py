"""When callers wait for Redis, and when they are refused at once."""

import contextlib
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.broker import patience
from service.broker.patience import Patience, RedisSilent

TIMEOUT = 1.5


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(patience, "time", fake)
    return fake


@pytest.fixture
def silent(clock: Clock) -> Patience:
    """One that has just seen a caller wait in vain."""
    made = Patience(TIMEOUT)
    began = made.begin()
    clock.now += TIMEOUT
    made.note(began=began, answered=False)
    return made


def is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except RedisSilent:
        return True
    return False


def test_all_may_ask_as_long_as_redis_answers(clock: Clock) -> None:
    calm = Patience(TIMEOUT)
    for _ in range(3):
        began = calm.begin()
        assert not is_refused(calm.begin)
        calm.note(began=began, answered=True)


def test_a_refusal_is_no_silence(clock: Clock) -> None:
    calm = Patience(TIMEOUT)
    calm.note(began=calm.begin(), answered=False)
    assert not is_refused(calm.begin)
    with contextlib.suppress(RedisConnectionError), calm.connecting():
        raise RedisConnectionError("refused")
    assert not is_refused(calm.begin)


def test_after_a_wait_in_vain_all_are_refused_for_a_while(silent: Patience, clock: Clock) -> None:
    assert is_refused(silent.begin)
    clock.now += patience.REST - 0.01
    assert is_refused(silent.check)
    clock.now += 0.02
    assert not is_refused(silent.check)


def test_then_one_at_a_time_tries_anew(silent: Patience, clock: Clock) -> None:
    clock.now += patience.REST
    began = silent.begin()
    assert is_refused(silent.begin)
    assert is_refused(silent.check)
    clock.now += TIMEOUT
    silent.note(began=began, answered=False)
    assert is_refused(silent.begin)
    clock.now += patience.REST
    assert not is_refused(silent.begin)


def test_one_who_is_answered_opens_the_way_for_all(silent: Patience, clock: Clock) -> None:
    clock.now += patience.REST
    silent.note(began=silent.begin(), answered=True)
    assert not any(is_refused(silent.begin) for _ in range(3))


def test_one_who_is_refused_leaves_the_next_try_to_the_next(silent: Patience, clock: Clock) -> None:
    clock.now += patience.REST
    with pytest.raises(RedisConnectionError), silent.connecting():
        raise RedisConnectionError("refused")
    assert not is_refused(silent.begin)
    assert is_refused(silent.begin)


def test_one_who_never_tells_how_it_went_keeps_the_others_away_for_a_time_only(
    silent: Patience, clock: Clock
) -> None:
    clock.now += patience.REST
    silent.begin()
    clock.now += 2 * TIMEOUT - 0.01
    assert is_refused(silent.begin)
    clock.now += 0.02
    assert not is_refused(silent.begin)

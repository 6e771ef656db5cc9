"""Job ids are UUIDs of version 7 (RFC 9562 §5.7), so that they sort by the time they were made."""

import re
import time
import uuid

import pytest

from service.broker.enqueuer import new_job_id

MILLISECOND = 1_000_000  # nanoseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in a list of one, to be set."""
    now = [time.time_ns()]
    monkeypatch.setattr("service.broker.enqueuer.time.time_ns", lambda: now[0])
    return now


@pytest.mark.parametrize("noise", [b"\x00" * 10, b"\xff" * 10, None])
def test_an_id_bears_its_version_and_variant_whatever_its_random_bits(
    monkeypatch: pytest.MonkeyPatch, noise: bytes | None
) -> None:
    if noise is not None:
        monkeypatch.setattr("service.broker.enqueuer.os.urandom", lambda length: noise[:length])
    made = uuid.UUID(new_job_id())
    assert made.variant == uuid.RFC_4122
    assert made.version == 7


def test_an_id_begins_with_the_time_it_was_made(clock: list[int]) -> None:
    assert uuid.UUID(new_job_id()).int >> 80 == clock[0] // MILLISECOND


def test_later_ids_sort_behind_earlier_ones(clock: list[int]) -> None:
    made = []
    for step in (1, 1, 15, 16, 255, 10**3, 10**6, 10**9, 10**12):
        clock[0] += step * MILLISECOND
        made.append(new_job_id())
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_the_same_millisecond_sort_in_their_order(clock: list[int]) -> None:
    made = []
    for _ in range(1000):
        clock[0] += 1000
        made.append(new_job_id())
    assert made == sorted(made)


def test_ids_of_the_same_moment_differ(clock: list[int]) -> None:
    assert len({new_job_id() for _ in range(10_000)}) == 10_000


def test_the_noise_of_an_id_never_reaches_into_its_time(
    clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for byte in (0x00, 0xFF):
        monkeypatch.setattr(
            "service.broker.enqueuer.os.urandom", lambda length, byte=byte: bytes([byte] * length)
        )
        assert new_job_id().replace("-", "")[:12] == f"{clock[0] // MILLISECOND:012x}"


def test_an_id_is_one_that_rq_and_urls_take() -> None:
    assert re.fullmatch(r"[a-z0-9-]{36}", new_job_id())

"""When a failed job is run again, and after how long."""

from typing import Any

import pytest

from jobs import Exponential, PermanentFailure, Retry
from jobs.policy import Policy, parse_memory


@pytest.mark.parametrize(
    ("interval", "waits"),
    [
        (0, [0, 0, 0, 0]),
        (7, [7, 7, 7, 7]),
        ([10, 60], [10, 60, 60, 60]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4]),
        (Exponential(first=2, factor=3, ceiling=20, jitter=0), [2, 6, 18, 20]),
    ],
)
def test_there_is_a_wait_for_each_retry_and_the_last_one_repeats(
    interval: Any, waits: list[int]
) -> None:
    # RQ itself repeats the first of a short list, not the last.
    assert Retry(max=4, interval=interval).intervals() == waits


def test_jitter_shortens_waits_at_random_and_never_below_its_share() -> None:
    backoff = Exponential(first=100, factor=1, ceiling=100, jitter=0.4)
    waits = {backoff.wait(1) for _ in range(200)}
    assert len(waits) > 100
    assert all(60 <= wait <= 100 for wait in waits)


def test_far_attempts_wait_for_the_ceiling() -> None:
    assert Exponential(first=1, factor=10, ceiling=600, jitter=0).wait(10**9) == 600


@pytest.mark.parametrize(
    ("retry", "error", "again"),
    [
        (Retry(max=1), ValueError(), True),
        (Retry(max=1), SystemExit(), False),
        (Retry(max=1), PermanentFailure(), False),
        (Retry(max=1, on=OSError), ConnectionError(), True),
        (Retry(max=1, on=OSError), ValueError(), False),
        (Retry(max=1, never=ValueError), UnicodeDecodeError("utf-8", b"", 0, 1, ""), False),
        (Retry(max=1, on=(OSError, ValueError), never=(TimeoutError,)), TimeoutError(), False),
        (Retry(max=1, on=PermanentFailure), PermanentFailure(), False),
    ],
)
def test_the_type_of_the_error_decides(retry: Retry, error: BaseException, again: bool) -> None:
    assert retry.applies_to(error) is again
    assert Policy(retry=retry).retries(error) is again


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Retry(max=0),
        lambda: Retry(max=1, interval=-1),
        lambda: Retry(max=1, interval=[]),
        lambda: Exponential(first=0),
        lambda: Exponential(factor=0.5),
        lambda: Exponential(first=10, ceiling=5),
        lambda: Exponential(jitter=2),
        lambda: Policy(timeout=0),
        lambda: Policy(queue=""),
        lambda: Policy(failure_ttl=-2),
        lambda: Policy(max_crashes=0),
        lambda: Policy(on_crash="explode"),
        lambda: Policy(memory=2**20),
        lambda: Policy(cpu_seconds=0),
        lambda: Policy(isolation="none"),
        lambda: Policy(webhook="example.com/hook"),
        lambda: Policy(isolation="shared", memory=2**30),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(
    ("error", "again"), [(ValueError(), True), (SystemExit(), False), (PermanentFailure(), False)]
)
def test_a_task_without_a_policy_leaves_retries_to_the_job(
    error: BaseException, again: bool
) -> None:
    # Its own jobs have none; another program may have enqueued one with RQ's.
    assert Policy().retries(error) is again


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [(None, None), (2**30, 2**30), ("512MiB", 2**29), ("1.5 GiB", 3 * 2**29), ("64MB", 64 * 10**6)],
)
def test_memory_is_given_in_bytes_or_with_a_unit(size: Any, bytes_: int | None) -> None:
    assert parse_memory(size) == bytes_


@pytest.mark.parametrize("size", ["", "much", "512", "512mb", "-1MiB"])
def test_memory_that_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="memory="):
        parse_memory(size)

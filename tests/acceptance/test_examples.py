"""The examples, before and after, asked the same and killed in the middle: who loses what."""

import pytest

from examples.client import EXAMPLES, Example
from examples.compare import run

CALLS = 12


@pytest.mark.timeout(240)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_before_loses_work_and_after_does_not(example: Example) -> None:
    before, after = (run(example, side, CALLS) for side in ("before", "after"))
    assert before.accepted == after.accepted and before.lost > 0
    assert before.known < before.jobs and not before.retried
    assert (after.lost, after.done, after.known) == (0, after.accepted, after.jobs)
    assert after.retried

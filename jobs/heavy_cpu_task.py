"""The plainest task: pure CPU work on one number."""

from typing import Annotated

from pydantic import Field

from jobs import job, track


@job(queue="cpu", timeout=600)
def heavy_cpu_task(n: Annotated[int, Field(ge=0, examples=[1_000_000])]) -> int:
    """Sum of the squares below n."""
    return sum(i * i for i in track(range(n)))

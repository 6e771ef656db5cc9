"""Tasks that trace what they do, as a library that they call would."""

import logging
from pathlib import Path

from opentelemetry import trace

from jobs import Retry, job


@job(retry=Retry(max=1))
def traced(path: str) -> str:
    """Fail the first time, with a span of its own each time."""
    with trace.get_tracer("acme").start_as_current_span("look closer"):
        logging.getLogger("acme").info("looking at %s", path)
        with Path(path).open("a+") as file:
            file.write("x")
            file.seek(0)
            if file.read() == "x":
                raise LookupError("not yet")
    return "seen"


@job(queue="io", isolation="async")
async def traced_in_loop(value: int) -> int:
    with trace.get_tracer("acme").start_as_current_span("look around"):
        return value

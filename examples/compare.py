"""Each example before and after: the same calls, and `kill -9` of all of it in the middle.

python -m examples.compare        the table, as Markdown
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from examples.client import EXAMPLES, Accepted, Example, calling, pings
from examples.stacks import Stack, eventually

CALLS = 20  # submitted one after the other
QUIET = 20.0  # seconds without a new line in the journal: what will come has come by then
SIDES = ("before", "after")
TITLES = {
    ("background_tasks", "before"): "`BackgroundTasks`",
    ("process_pool", "before"): "`ProcessPoolExecutor`",
    ("celery", "before"): "Celery",
}
COLUMNS = (
    *("accepted", "done", "lost", "run twice", "flaky one retried", "status known"),
    "`/ping` meanwhile",
)


@dataclass(frozen=True)
class Row:
    """What became of one side of one example."""

    example: str
    side: str
    accepted: int  #: pieces of work
    done: int
    lost: int
    twice: int  #: done more than once
    retried: bool  #: the one that fails the first time came to its end
    known: int  #: jobs whose status can be told afterwards
    jobs: int
    ping: float  #: seconds, at the 95th percentile

    def markdown(self) -> str:
        """As a row of the table."""
        title = TITLES.get((self.example, self.side), "… on Paddock")
        cells = [
            title,
            f"{self.accepted}",
            f"{self.done}",
            f"**{self.lost}**",
            f"{self.twice}",
            "yes" if self.retried else "no",
            f"{self.known} of {self.jobs}",
            f"{self.ping * 1000:.0f} ms",
        ]
        return f"| {' | '.join(cells)} |"


def run(example: Example, side: str, calls: int = CALLS) -> Row:
    """Submit, kill all of it when a quarter is done, start it again, and count."""
    # A socket's path has to be short, and Redis's is in this folder.
    with tempfile.TemporaryDirectory(prefix="paddock-") as folder:
        stack = Stack(example.name, side, Path(folder))
        try:
            return _run(example, stack, calls)
        finally:
            stack.kill()


def _run(example: Example, stack: Stack, calls: int) -> Row:
    accepted = Accepted()
    stack.start()
    with pings(stack.url) as took, calling(stack.url) as http:
        accepted.submit(example, http, ["flaky", *(f"call-{number}" for number in range(calls))])
        works = accepted.works(example)
        eventually(lambda: len(_done(stack, works)) >= len(works) // 4)
        stack.kill()
    stack.start()
    _until_quiet(stack, works)
    done = _done(stack, works)
    with calling(stack.url) as http:
        known = accepted.known(example, http)
    return Row(
        example=example.name,
        side=stack.side,
        accepted=len(works),
        done=len(set(done)),
        lost=len(set(works) - set(done)),
        twice=len(done) - len(set(done)),
        retried=example.leaves[0].format("flaky") in done,
        known=known,
        jobs=len(accepted.jobs),
        ping=statistics.quantiles(took, n=20)[-1],
    )


def _done(stack: Stack, works: list[str]) -> list[str]:
    return [line for line in stack.lines() if line in works]


def _until_quiet(stack: Stack, works: list[str]) -> None:
    """Wait until all is done, or nothing more comes."""
    count, since = len(stack.lines()), time.monotonic()
    while time.monotonic() - since < QUIET and set(works) - set(_done(stack, works)):
        if len(stack.lines()) != count:
            count, since = len(stack.lines()), time.monotonic()
        time.sleep(0.1)


def main() -> int:
    """`python -m examples.compare`."""
    parser = argparse.ArgumentParser(description="Each example before and after, killed.")
    parser.add_argument("--calls", type=int, default=CALLS, help="Calls to each.")
    options = parser.parse_args()
    print(f"| | {' | '.join(COLUMNS)} |", "| --- " + "| ---: " * 7 + "|", sep="\n", flush=True)
    for example in EXAMPLES:
        for side in SIDES:
            print(run(example, side, options.calls).markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

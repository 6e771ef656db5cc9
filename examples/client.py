"""What each example is asked over HTTP: by the same code before and after."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

TIMEOUT = 30.0  # seconds that an answer is waited for
# Each request comes over a connection of its own, as from as many callers: where a task in the
# background raises, the connection that brought it is closed.
ONE_EACH = httpx.Limits(max_keepalive_connections=0)
PING_EVERY = 0.02  # seconds


@dataclass(frozen=True)
class Example:
    """How one of the three is spoken to."""

    name: str
    submit: Callable[[httpx.Client, str], httpx.Response]
    status: str  #: the route that tells of a job
    leaves: tuple[str, ...]  #: the lines in the journal that one call leads to


EXAMPLES = (
    Example(
        "background_tasks",
        lambda http, name: http.post("/send", data={"message": name}),
        "/jobs/{}",
        ("done {}", "done async {}"),
    ),
    Example(
        "process_pool",
        lambda http, name: http.post("/jobs", params={"n": 2_000_000, "name": name}),
        "/jobs/{}",
        ("done {}",),
    ),
    Example(
        "celery",
        lambda http, name: http.post("/tasks", params={"n": 2_000_000, "name": name}),
        "/tasks/{}",
        ("done {}",),
    ),
)


@dataclass
class Accepted:
    """What an application said yes to: name → the job's id, where it told one."""

    jobs: dict[str, str | None] = field(default_factory=dict)

    def submit(self, example: Example, http: httpx.Client, names: list[str]) -> None:
        """Submit these, one after the other."""
        for name in names:
            answer = example.submit(http, name)
            answer.raise_for_status()
            self.jobs[name] = answer.json().get("id")

    def works(self, example: Example) -> list[str]:
        """The lines that the journal is to have in the end."""
        return [line.format(name) for name in self.jobs for line in example.leaves]

    def known(self, example: Example, http: httpx.Client) -> int:
        """Of how many jobs the application can tell where they stand.

        Celery says PENDING of what it has never heard of.
        """
        answers = [http.get(example.status.format(each)) for each in self.jobs.values() if each]
        return sum(each.is_success and each.json()["status"] != "PENDING" for each in answers)


def calling(url: str) -> httpx.Client:
    """What the calls are made with."""
    return httpx.Client(base_url=url, timeout=TIMEOUT, limits=ONE_EACH)


@contextmanager
def pings(url: str) -> Iterator[list[float]]:
    """Seconds that each of many GET /ping took, for as long as the block lasts."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT) as http:
            while not over.wait(PING_EVERY):
                began = time.perf_counter()
                try:
                    http.get("/ping").raise_for_status()
                except httpx.HTTPError:
                    return  # it was killed
                took.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        over.set()
        asking.join()

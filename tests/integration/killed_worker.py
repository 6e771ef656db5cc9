"""A worker that dies once, at a named point of its own code, by a signal it sends itself.

    python -m tests.integration.killed_worker QUEUE MARKER CLASS.METHOD before|after SIGNAL VICTIM

With `--io` as a last word it is an io worker.

The victim is the process that runs the method (`self`), or it and its parent (`both`). The marker
is a file: once it is there, nobody dies any more.
"""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import worker
from jobs import Task
from service.execution.channel import Channel
from service.execution.claim import Claimer
from service.execution.claims import Claims
from service.execution.housekeeping import Housekeeper
from service.execution.io_worker import IOWorker
from service.execution.loop_harness import LoopHarness
from service.execution.loop_horse import LoopHorse
from service.execution.loop_runs import AsyncRun
from service.execution.recording import Recorder
from service.execution.recovery import Recovery
from service.execution.settlement import Settler
from service.execution.stable import Stable
from service.execution.taken import Taken
from service.execution.together import Together
from service.execution.watch import Watch

CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        worker.Worker,
        AsyncRun,
        Channel,
        Claimer,
        Claims,
        Housekeeper,
        IOWorker,
        LoopHarness,
        LoopHorse,
        Recorder,
        Recovery,
        Settler,
        Stable,
        Taken,
        Task,
        Together,
        Watch,
    )
}


def die_once(marker: Path, number: signal.Signals, victim: str) -> None:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    if victim == "both":
        os.kill(os.getppid(), number)
    os.kill(os.getpid(), number)
    if number == signal.SIGKILL:
        time.sleep(60)  # until it arrives


def wrapped(method: Callable[..., Any], when: str, die: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def dies(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        outcome = method(*args, **kwargs)
        # A claim that found nothing is not the moment that is meant.
        if when == "after" and (method.__name__ != "answered" or outcome not in (None, [])):
            die()
        return outcome

    return dies


def main() -> int:
    queue, marker, point, when, number, victim, *options = sys.argv[1:]
    owner, name = point.split(".")
    die = functools.partial(die_once, Path(marker), signal.Signals[number], victim)
    cls: Any = CLASSES[owner]
    setattr(cls, name, wrapped(getattr(cls, name), when, die))
    sys.argv = ["worker.py", "--queues", queue, *options]
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())

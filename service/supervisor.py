"""Running child processes: started in order, started again when they die, stopped in order."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.execution.limits import die_with_parent

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before a program that died is started again
SETTLED = 10.0  # seconds a program must have run for its next pause to be short again
LOOK_INTERVAL = 0.1  # seconds
REFUSED = 2  # exit status of a program that can't work as it is set up: no use trying again
LEAST_GRACE = 1.5  # seconds; RQ takes a second signal within one for the first
KILL_GRACE = 5.0  # seconds beyond the grace, for what a program writes as it ends

logger = logging.getLogger("paddock.supervisor")


@dataclass(eq=False)
class Program:
    """One child process, and its successors."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    inherited: tuple[int, ...] = ()  #: file descriptors it gets
    process: "subprocess.Popen[bytes] | None" = None
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    _start_at: float = field(default=0.0, repr=False)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start its process. It is told to stop when this process dies, where Linux can do so."""
        parent = os.getpid()
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | self.environment,
            pass_fds=self.inherited,
            stdin=subprocess.DEVNULL,
            # Ctrl-C goes to us alone: the order in which the others stop matters.
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),
        )

    def died(self) -> int | None:
        """Its exit status, told once; None while it runs."""
        if self.process is None or self.process.poll() is None:
            return None
        status = self.process.returncode
        if status == 0 or time.monotonic() - self._started > SETTLED:
            self._pause = FIRST_PAUSE
        self._start_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.process = None
        return status

    def start_again_when_due(self) -> None:
        """Start it if it is down and its pause is over."""
        if self.process is None and time.monotonic() >= self._start_at:
            self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.is_running and self.process is not None:
            self.process.send_signal(number)


class Supervisor:
    """Runs programs in stages. A stage is started after, and stopped before, the one before it."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._stages: list[list[Program]] = []
        self._stop = threading.Event()

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_all()

    def start(self, programs: list[Program]) -> None:
        """Start the next stage."""
        self._stages.append(programs)
        for program in programs:
            program.start()

    def wait_until(self, ready: Callable[[], bool]) -> bool:
        """Keep everything running until it is ready; False where told to stop before.

        Raises `subprocess.CalledProcessError` where a program refuses to run.
        """
        while not ready():
            if not self._look_after():
                return False
        return True

    def run(self) -> int:
        """Keep everything running until told to stop. Returns the exit status for this process."""
        try:
            while self._look_after():
                pass
        except subprocess.CalledProcessError as refused:
            logger.error("%s can't run; its message is above", refused.cmd)
            return REFUSED
        return 0

    def _look_after(self) -> bool:
        for program in (program for stage in self._stages for program in stage):
            status = program.died()
            if status == REFUSED:
                raise subprocess.CalledProcessError(status, program.name)
            if status is not None:
                logger.warning("%s ended (%s); starting it again", program.name, status)
            program.start_again_when_due()
        return not self._stop.wait(LOOK_INTERVAL)

    def _stop_all(self) -> None:
        for stage in reversed(self._stages):
            # Told a second time, a worker ends the job it runs, and puts it back on its queue.
            for grace in (max(self._grace, LEAST_GRACE), KILL_GRACE):
                for program in stage:
                    program.signal(signal.SIGTERM)
                _wait_for(stage, grace)
            for program in stage:
                program.signal(signal.SIGKILL)
                if program.process is not None:
                    program.process.wait()


def _wait_for(stage: list[Program], seconds: float) -> None:
    until = time.monotonic() + seconds
    while any(program.is_running for program in stage) and time.monotonic() < until:
        time.sleep(LOOK_INTERVAL / 2)

"""One job among others in a loop horse: a coroutine in its event loop, or a thread beside it.

Nothing here is global: what a job asks for about itself is kept in its own context, and what it
raises, `SystemExit` too, goes no further than its own outcome.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from rq.timeouts import JobTimeoutException

from jobs import Task
from service.execution.assignment import (
    AwaitedCanceled,
    Canceled,
    KnownJob,
    peak_rss,
    raised,
    returned,
)
from service.execution.job_context import enter
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.reporting.voice import Voice, own_voice

Tell = Callable[[Outcome], None]


class Run(ABC):
    """A job that has begun, or is about to. `tell` is called once, in the loop, when it ended."""

    def __init__(self, job: KnownJob, task: Task[..., Any], tell: Tell, voice: Voice) -> None:
        self._job, self._task, self._tell, self._voice = job, task, tell, voice
        self._began = time.monotonic()
        self._alarm: asyncio.TimerHandle | None = None
        self._interruption: BaseException | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it run, and interrupt it at its timeout."""
        self._start(loop)
        if self._job.timeout and self._job.timeout > 0:
            error = JobTimeoutException(f"Task exceeded its timeout of {self._job.timeout} s")
            self._alarm = loop.call_later(self._job.timeout, self.interrupt, error)

    @abstractmethod
    def interrupt(self, error: BaseException) -> None:
        """Have it stop for this reason, with the chance to clean up."""

    @abstractmethod
    def _start(self, loop: asyncio.AbstractEventLoop) -> None: ...

    def _context(self) -> contextvars.Context:
        """In which it runs: there it finds itself, and is heard as itself."""
        context = contextvars.copy_context()
        context.run(enter, self._job)
        context.run(own_voice.set, self._voice)
        return context

    def _finish(self, outcome: Outcome) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._tell(outcome)

    def _stopped(self, error: BaseException, usage: Usage) -> Outcome:
        """It ended as it was told to; `error` tells where."""
        if isinstance(self._interruption, Canceled):
            return Outcome(Kind.CANCELED, usage, "canceled")
        assert self._interruption is not None, "asked of a job that was interrupted"
        self._interruption.__cause__ = error
        return raised(self._interruption, self._task, usage)

    def _seconds(self) -> float:
        return time.monotonic() - self._began


_running: contextvars.ContextVar["AsyncRun | None"] = contextvars.ContextVar("run", default=None)


class AsyncRun(Run):
    """A job that is a coroutine, and the tasks that it starts."""

    def __init__(self, job: KnownJob, task: Task[..., Any], tell: Tell, voice: Voice) -> None:
        super().__init__(job, task, tell, voice)
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    @staticmethod
    def of(context: contextvars.Context | None) -> "AsyncRun | None":
        """The job that this context belongs to; of the current one where none is given."""
        return _running.get() if context is None else context.get(_running)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """The job has started this task: it does not outlive the job."""
        self._tasks.add(task)

    def interrupt(self, error: BaseException) -> None:
        self._interruption = error
        self._main.cancel()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        context = self._context()
        context.run(_running.set, self)
        self._main = loop.create_task(self._live(), context=context)
        self._main.add_done_callback(self._ended)

    async def _live(self) -> Outcome:
        try:
            try:
                result = await self._task.run_in_loop(*self._job.args, **self._job.kwargs)
            finally:
                await self._end_tasks()
            return returned(result, self._usage())
        except BaseException as error:  # noqa: BLE001  # out of here it would end the loop
            return self._raised(error)

    async def _end_tasks(self) -> None:
        """As `asyncio.run` does with what a job leaves behind, and what that begins meanwhile.

        Those that won't end keep the job from it, so that its worker kills them at its timeout.
        """
        while left := [task for task in self._tasks if task is not self._main and not task.done()]:
            for task in left:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # at the timeout, or by a cancel
                await asyncio.wait(left)

    def _ended(self, main: "asyncio.Task[Outcome]") -> None:
        if main.cancelled():  # before it had begun
            self._finish(self._raised(asyncio.CancelledError()))
        else:
            self._finish(main.result())

    def _raised(self, error: BaseException) -> Outcome:
        if isinstance(error, asyncio.CancelledError):
            if self._interruption is not None:
                return self._stopped(error, self._usage())
            told = "It was canceled, but not by its worker: it, or what it awaited, did so"
            canceled = AwaitedCanceled(told)
            canceled.__cause__ = error
            error = canceled
        return raised(error, self._task, self._usage())

    def _usage(self) -> Usage:
        # Whose the loop's CPU seconds are, nobody knows; the memory is that of all jobs together.
        return Usage(self._seconds(), None, peak_rss())


class ThreadRun(Run):
    """A job in a thread of its own. A thread can't be killed: only its horse can."""

    def __init__(self, job: KnownJob, task: Task[..., Any], tell: Tell, voice: Voice) -> None:
        super().__init__(job, task, tell, voice)
        self._lock = threading.Lock()
        self._is_over = False

    def interrupt(self, error: BaseException) -> None:
        """Raise it in the thread: at once in Python code, in C code when that returns."""
        with self._lock:
            if self._is_over:
                return
            self._interruption = error
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(type(error))
            )

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        run = self._context().run
        self._thread = threading.Thread(target=run, args=(self._live,), daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            outcome = self._perform()
        except BaseException as error:  # noqa: BLE001  # an interrupt that came as it ended
            outcome = self._raised(error)
        self._loop.call_soon_threadsafe(self._finish, outcome)

    def _perform(self) -> Outcome:
        try:
            result = self._task.run(*self._job.args, **self._job.kwargs)
            return returned(result, self._usage())
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            return self._raised(error)
        finally:
            with self._lock:
                self._is_over = True

    def _raised(self, error: BaseException) -> Outcome:
        if self._interruption is not None and isinstance(error, type(self._interruption)):
            return self._stopped(error, self._usage())
        return raised(error, self._task, self._usage())

    def _usage(self) -> Usage:
        return Usage(self._seconds(), time.thread_time(), peak_rss())

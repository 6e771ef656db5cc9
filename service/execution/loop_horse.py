"""The process that runs many jobs at once in one event loop, from the inside.

Like any horse it is handed jobs over a channel, hands back how each ended, and never speaks to
Redis. Its worker stays outside and can always answer for the jobs, whatever they do to the loop.
"""

import asyncio
import importlib
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from redis import Redis

from jobs.catalogue import Catalogue
from service.execution.assignment import (
    Canceled,
    as_header,
    job_of,
    peak_rss,
    raised,
    task_of,
)
from service.execution.channel import Channel
from service.execution.loop_runs import AsyncRun, Run, ThreadRun
from service.execution.outcome import Outcome, Usage
from service.execution.reporting.capture import capture_together, flush_streams
from service.execution.reporting.voice import Stage, Voice
from service.execution.watchdog import Watchdog
from service.tracing.export import flush_spans

logger = logging.getLogger("rq.worker")


def run_loop_horse(
    channel: Channel,
    beats: Channel,
    pipes: dict[str, int],
    catalogue: Catalogue,
    connection: Redis,
    worker_name: str,
    concurrency: int,
) -> NoReturn:
    """The life of a loop horse: run the jobs that come, until the worker has it leave.

    The connection is for jobs that ask RQ for themselves; it is made when they do.
    """
    os.environ["RQ_WORKER_ID"] = worker_name
    # Ctrl-C is the worker's to hear; it decides what becomes of the jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    loop = _new_loop()
    # For `asyncio.to_thread`: by default few threads would have to do for all of the jobs.
    loop.set_default_executor(_Threads(concurrency))
    asyncio.set_event_loop(loop)
    stage = capture_together(pipes)
    LoopHorse(channel, beats, catalogue, connection, worker_name, loop, stage).start()
    while True:
        try:
            loop.run_forever()
            break
        except BaseException as error:  # noqa: BLE001  # the other jobs go on
            # Of a task that a job has started; the job is told, too, if it waits for it.
            logger.error("A task in the event loop raised %r", error)
    flush_streams()
    flush_spans()
    os._exit(0)


class _Threads(ThreadPoolExecutor):
    """What runs in them belongs to the job that has sent it there."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return super().submit(copy_context().run, fn, *args, **kwargs)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        new_event_loop: Callable[[], asyncio.AbstractEventLoop]
        new_event_loop = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return asyncio.new_event_loop()
    return new_event_loop()


class LoopHorse:
    """Begins jobs in the loop, and tells the worker how they ended."""

    def __init__(
        self,
        channel: Channel,
        beats: Channel,
        catalogue: Catalogue,
        connection: Redis,
        worker_name: str,
        loop: asyncio.AbstractEventLoop,
        stage: Stage,
    ) -> None:
        self._channel, self._catalogue, self._loop, self._stage = channel, catalogue, loop, stage
        self._connection, self._worker_name = connection, worker_name
        self._runs: dict[str, Run] = {}
        # Of each task the execution that has started it, and the file of the job's function
        self._owners: WeakKeyDictionary[asyncio.Task[Any], tuple[str, str]] = WeakKeyDictionary()
        self._known: dict[Run, tuple[str, str]] = {}
        self._watchdog = Watchdog(loop, beats, self._owners.get)

    def start(self) -> None:
        """Listen to the worker, as soon as the loop runs."""
        self._loop.set_task_factory(self._new_task)
        self._loop.add_reader(self._channel.fileno(), self._hear)
        self._watchdog.start()

    def _hear(self) -> None:
        if not self._channel.read_some():
            self._loop.stop()
            return
        while message := self._channel.message():
            header, data = message
            match header["do"]:
                case "run":
                    self._begin(header, data)
                case "cancel":
                    if run := self._runs.get(header["execution"]):
                        run.interrupt(Canceled())
                case "leave":
                    self._loop.stop()

    def _begin(self, header: dict[str, Any], data: bytes) -> None:
        voice, task = self._stage.new_voice(header["execution"]), None
        tell = partial(self._tell, header["execution"], voice)
        try:
            job = job_of(header, data, self._connection)
            job.worker_name = self._worker_name
            task = task_of(job, self._catalogue)
            kind = AsyncRun if task.policy.isolation == "async" else ThreadRun
            run = kind(job, task, tell, voice)
            self._runs[header["execution"]] = run
            self._known[run] = header["execution"], task.function.__code__.co_filename
            self._watchdog.busy.set()
            run.begin(self._loop)
        except Exception as error:  # noqa: BLE001  # this job's, and no other's
            tell(raised(error, task, Usage(0.0, None, peak_rss())))

    def _tell(self, execution_id: str, voice: Voice, outcome: Outcome) -> None:
        if run := self._runs.pop(execution_id, None):
            del self._known[run]
        if not self._runs:
            self._watchdog.busy.clear()
        flush_streams()
        told = {**as_header(outcome), "execution": execution_id, "unsent": voice.end()}
        try:
            self._channel.post(told, outcome.body)
        except OSError:  # the worker is gone, and with it whoever would listen
            self._loop.stop()
            return
        if self._channel.has_unsent:
            self._loop.add_writer(self._channel.fileno(), self._go_on_telling)

    def _go_on_telling(self) -> None:
        try:
            self._channel.flush()
        except OSError:
            self._loop.stop()
        if not self._channel.has_unsent:
            self._loop.remove_writer(self._channel.fileno())

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        """The loop's task factory, which notes whose each task is."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        if run := AsyncRun.of(options.get("context")):
            run.adopt(task)
            if run in self._known:
                self._owners[task] = self._known[run]
        return task

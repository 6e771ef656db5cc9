"""The programs that `up`, `serve` and `work` supervise: API processes, workers, io workers."""

import atexit
import os
import shutil
import socket
import sys
import tempfile

import click

from jobs.catalogue import Catalogue
from service.settings import Settings
from service.supervisor import Program


def apis(settings: Settings, listener: socket.socket) -> list[Program]:
    """The processes that share this socket."""
    fd = listener.fileno()
    command = [sys.executable, "-m", "service.cli", "serve", "--fd", str(fd)]
    names = [f"API process {number}" for number in range(1, settings.processes + 1)]
    environment = settings.environment() | _counted_together(settings)
    return [Program(name, command, environment, (fd,)) for name in names]


def _counted_together(settings: Settings) -> dict[str, str]:
    """Where several processes keep what they have counted, so that each can tell of all."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    if settings.processes == 1 or name in os.environ:
        return {}
    folder = tempfile.mkdtemp(prefix="paddock-metrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {name: folder}


def all_workers(settings: Settings) -> list[Program]:
    """Of both kinds, side by side, so that neither keeps the other's queues waiting."""
    return workers(settings) + io_workers(settings) if settings.workers else []


def workers(settings: Settings) -> list[Program]:
    """Those that run a job at a time, in a process of its own."""
    command = [sys.executable, "-m", "worker"]
    names = [f"worker {number}" for number in range(1, settings.workers + 1)]
    return [Program(name, command, settings.environment()) for name in names]


def io_workers(settings: Settings) -> list[Program]:
    """Those that run many at once in one process."""
    command = [sys.executable, "-m", "worker", "--io"]
    names = [f"io worker {number}" for number in range(1, settings.io_workers + 1)]
    return [Program(name, command, settings.environment()) for name in names]


def workers_shown(settings: Settings) -> list[str]:
    """Their lines of the banner."""
    lines = [f"  workers    {settings.workers} on {', '.join(settings.queues)}"]
    if settings.workers and settings.io_workers:
        most, queues = settings.async_concurrency, ", ".join(settings.io_queues)
        lines.append(f"  io         {settings.io_workers} on {queues}, {most} jobs at once each")
    return lines


def tell_misplaced(catalogue: Catalogue, settings: Settings) -> None:
    """Name the tasks whose isolation and queue don't fit: they run, but not as one may expect."""
    for task in catalogue:
        is_io = task.policy.queue in settings.io_queues
        if task.policy.runs_together and not is_io:
            click.echo(
                f"paddock: {task.name} says isolation={task.policy.isolation!r}, but its queue "
                f"{task.policy.queue!r} is none of PADDOCK_IO_QUEUES: each of its jobs gets a "
                "process of its own",
                err=True,
            )

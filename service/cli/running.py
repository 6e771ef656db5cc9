"""Commands that run something: up, serve, work; and check, which tells whether they would."""

import contextlib
import fcntl
import json
import os
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click
from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.catalogue import Catalogue
from jobs.mail import MailServer
from service.broker.connection import connect, redis_url, without_password
from service.broker.durability import check_suitable
from service.broker.embedded import last_words, server_command
from service.cli.api_server import serve_requests
from service.cli.listener import accepts, address, listen
from service.cli.programs import (
    all_workers,
    apis,
    io_workers,
    tell_misplaced,
    workers,
    workers_shown,
)
from service.errors import AlreadyRunning, PaddockError, ServerFailed, SettingsInvalid
from service.logs import configure_logs
from service.settings import Settings
from service.supervisor import Program, Supervisor


@click.command()
@click.option("--host", help="Address the API listens on (PADDOCK_HOST).")
@click.option("--port", type=int, help="Port of the API; 0 takes a free one (PADDOCK_PORT).")
@click.option("--workers", type=int, help="Worker processes (PADDOCK_WORKERS).")
@click.option("--processes", type=int, help="Processes of the API (PADDOCK_PROCESSES).")
def up(host: str | None, port: int | None, workers: int | None, processes: int | None) -> int:
    """Run everything on this machine: Redis, the API, workers, scheduler, dashboard."""
    settings = Settings.load(host=host, port=port, workers=workers, processes=processes)
    configure_logs(settings)
    catalogue = Catalogue.load(settings.tasks)
    tell_misplaced(catalogue, settings)
    with _only_one(settings.data_dir), Supervisor(settings.shutdown_grace) as supervisor:
        try:
            if settings.redis_url is None and not _start_server(settings, supervisor):
                return 0
            _tell(check_suitable(connect(redis_url(settings)), **_tolerance(settings)))
            with listen(settings) as listener:
                supervisor.start(apis(settings, listener) + all_workers(settings))
                if supervisor.wait_until(lambda: accepts(listener)):
                    click.echo(_banner(settings, catalogue, listener))
                return supervisor.run()
        except subprocess.CalledProcessError as refused:
            raise ServerFailed(f"{refused.cmd} refused to run; its message is above") from refused


@click.command()
@click.option("--host", help="Address to listen on (PADDOCK_HOST).")
@click.option("--port", type=int, help="Port to listen on (PADDOCK_PORT).")
@click.option("--processes", type=int, help="Processes that share it (PADDOCK_PROCESSES).")
@click.option("--fd", type=int, hidden=True, help="A socket that listens already.")
def serve(host: str | None, port: int | None, processes: int | None, fd: int | None) -> int:
    """Run the API alone. Several processes are each started again when they die."""
    settings = Settings.load(host=host, port=port, processes=processes)
    configure_logs(settings)
    if fd is not None:
        with socket.socket(fileno=fd) as listener:
            return serve_requests(settings, listener)
    Catalogue.load(settings.tasks)
    _tell(check_suitable(connect(redis_url(settings)), **_tolerance(settings)))
    with listen(settings) as listener:
        click.echo(f"Paddock's API listens on {address(listener)}")
        if settings.processes == 1:
            return serve_requests(settings, listener)
        with Supervisor(settings.shutdown_grace) as supervisor:
            supervisor.start(apis(settings, listener))
            return supervisor.run()


@click.command()
@click.option("--count", type=click.IntRange(min=1), help="Processes (PADDOCK_WORKERS).")
@click.option("--queues", help="Queues, comma-separated, in order of priority.")
@click.option("--io", is_flag=True, help="Io workers alone, whose jobs wait together.")
def work(count: int | None, queues: str | None, io: bool) -> int:
    """Run workers alone, each started again when it dies.

    Those of PADDOCK_QUEUES and the io workers of PADDOCK_IO_QUEUES, where neither --queues nor --io
    picks some.
    """
    names = ("io_workers", "io_queues") if io else ("workers", "queues")
    settings = Settings.load(**dict(zip(names, (count, queues), strict=True)))
    configure_logs(settings)
    tell_misplaced(Catalogue.load(settings.tasks), settings)
    if io:
        programs = io_workers(settings)
    else:
        programs = workers(settings) if queues else all_workers(settings)
    if not programs:
        raise SettingsInvalid(f"PADDOCK_{names[0].upper()} is 0: there would be nothing to run.")
    _tell(check_suitable(connect(redis_url(settings)), **_tolerance(settings)))
    with Supervisor(settings.shutdown_grace) as supervisor:
        supervisor.start(programs)
        return supervisor.run()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(as_json: bool) -> int:
    """Show the settings in force and try the connections; exit status 2 if something is wrong."""
    settings = Settings.load()
    catalogue = Catalogue.load(settings.tasks)
    report: dict[str, Any] = {
        "settings": json.loads(settings.model_dump_json()),
        "tasks": [task.name for task in catalogue],
        "redis": without_password(redis_url(settings)),
        "redis_state": _redis_state(settings),
        "mail": _mail_state(),
    }
    if as_json:
        click.echo(json.dumps(report))
        return 0
    for name, value in report.pop("settings").items():
        shown = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"PADDOCK_{name.upper()} = {'' if shown is None else shown}")
    for name, value in report.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' ')}: {shown}")
    return 0


@contextlib.contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder. The lock goes with the process, however that ends."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        holder: IO[str] = (data_dir / "paddock.lock").open("a+")
    except OSError as error:
        raise SettingsInvalid(f"PADDOCK_DATA_DIR can't be used: {error}") from error
    with holder:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder.seek(0)
            raise AlreadyRunning(
                f"Paddock runs already on {data_dir} (process {holder.read().strip()}). Stop that "
                "one first, or give this one a PADDOCK_DATA_DIR of its own."
            ) from None
        holder.truncate(0)
        holder.write(str(os.getpid()))
        holder.flush()
        yield


def _start_server(settings: Settings, supervisor: Supervisor) -> bool:
    """Start the embedded Redis and wait until it has loaded its data; False if told to stop."""
    command = server_command(settings.data_dir, settings.redis_server)
    server = Program("Redis", command, {})
    client = connect(redis_url(settings))
    if not supervisor.wait_until(lambda: _orphan_is_gone(client)):
        return False
    supervisor.start([server])

    def answers() -> bool:
        if not server.is_running:
            raise ServerFailed(f"Redis did not start:\n{last_words(settings.data_dir)}")
        try:
            return bool(client.ping())
        except BusyLoadingError:
            return False  # for as long as it takes
        except RedisError:
            return False

    return supervisor.wait_until(answers)


def _orphan_is_gone(client: Redis) -> bool:
    """Whether the server of an `up` that was killed has ended. It is told to, if it has not heard.

    Two servers would write to one file; holding the folder's lock does not keep that one off.
    """
    try:
        client.ping()
        client.shutdown(nosave=True)  # all that was accepted is in the append-only file
    except (BusyLoadingError, RedisTimeoutError):
        return False
    except RedisError:
        return True
    return False


def _banner(settings: Settings, catalogue: Catalogue, listener: socket.socket) -> str:
    url = address(listener)
    return "\n".join(
        [
            "Paddock is up. Ctrl-C stops it; accepted jobs are kept.",
            f"  API        {url}  (docs: {url}/docs)",
            f"  page       {url}/  (rq-dashboard: {url}/dashboard/)",
            f"  Redis      {without_password(redis_url(settings))}",
            *workers_shown(settings),
            f"  tasks      {', '.join(task.name for task in catalogue)}",
        ]
    )


def _tolerance(settings: Settings) -> dict[str, Any]:
    return {"allow_volatile": settings.allow_volatile, "wanted": settings.durability}


def _tell(remarks: list[str]) -> None:
    for remark in remarks:
        click.echo(f"paddock: Redis: {remark}", err=True)


def _redis_state(settings: Settings) -> str:
    client = connect(redis_url(settings))
    try:
        client.ping()
    except RedisError as error:
        if settings.redis_url is None:
            return "not running; `paddock up` starts it"
        raise SettingsInvalid(f"PADDOCK_REDIS_URL: {error}") from error
    try:
        remarks = check_suitable(client, **_tolerance(settings))
    except PaddockError as error:
        raise SettingsInvalid(f"PADDOCK_REDIS_URL: {error}") from error
    return "; ".join(["running", *remarks])


def _mail_state() -> str:
    try:
        server = MailServer.configured()
        if server is None:
            return "no PADDOCK_SMTP_URL; mails are written to the outbox folder"
        connection = smtplib.SMTP_SSL if server.tls else smtplib.SMTP
        with connection(server.host, server.port, timeout=5) as smtp:
            smtp.noop()
    except (ValueError, OSError, smtplib.SMTPException) as error:
        raise SettingsInvalid(f"PADDOCK_SMTP_URL: {error}") from error
    return f"{server.host}:{server.port} answers"

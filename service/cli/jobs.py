"""Commands about jobs. They speak to Redis directly, so they work without the API."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Literal

import click
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console

from jobs.catalogue import Catalogue
from jobs.text import fields_to_json
from service.broker.broker import Broker
from service.broker.chaining import check_chaining
from service.broker.enqueuer import Submission
from service.broker.records import JobRecord
from service.broker.status import Status
from service.cli.batches import submit_batch
from service.cli.output import job_as_json, job_as_text, progress_line
from service.errors import AlreadySubmitted, ParametersInvalid, RedisAway
from service.settings import Settings

LOOK_INTERVAL = 0.2  # seconds between updates of the display while waiting

as_json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.command()
@click.argument("task")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--wait", is_flag=True, help="Wait until it has ended; status 1 if it failed.")
@click.option("--delay", type=click.FloatRange(min=0), help="Seconds until it is queued.")
@click.option("--queue", help="Another queue than the task's own.")
@click.option("--timeout", type=click.IntRange(min=1), help="Seconds an execution may take.")
@click.option("--at-front", is_flag=True, help="Put it at the front of its queue.")
@click.option(
    "--batch",
    type=click.File("rb"),
    metavar="FILE",
    help="A job for each line, a JSON object of parameters; - for stdin. All or none are accepted.",
)
@click.option("--depends-on", multiple=True, metavar="ID", help="Run it after this job.")
@click.option(
    "--on-dependency-failure",
    type=click.Choice(["fail", "run"]),
    default="fail",
    help="What it does if one of those does not finish.",
)
@click.option("--result-as", metavar="KEY", help="The parameter that gets that job's result.")
@click.option("--results-as", metavar="KEY", help="The one that gets a list of all their results.")
@as_json_option
def submit(
    task: str,
    parameters: tuple[str, ...],
    wait: bool,
    delay: float | None,
    queue: str | None,
    timeout: int | None,
    at_front: bool,
    batch: IO[bytes] | None,
    depends_on: tuple[str, ...],
    on_dependency_failure: Literal["fail", "run"],
    result_as: str | None,
    results_as: str | None,
    as_json: bool,
) -> int:
    """Submit TASK with its parameters; lists repeat their KEY."""
    if batch and (parameters or wait):
        raise click.UsageError("With --batch, parameters stand in the file, and --wait is not for.")
    if batch and depends_on:
        raise click.UsageError("The jobs of a batch wait for no others: --depends-on is not for.")
    with _broker() as broker:
        check_chaining(
            broker.catalogue[task],
            depends_on,
            on_dependency_failure,
            result_as,
            results_as,
            delayed=delay is not None,
        )
        submission = Submission(
            task=broker.catalogue[task],
            parameters=(
                {}
                if batch
                else _parameters(broker.catalogue, task, parameters, result_as or results_as)
            ),
            depends_on=depends_on,
            on_dependency_failure=on_dependency_failure,
            result_as=result_as,
            results_as=results_as,
            queue=queue,
            timeout=timeout,
            at_front=at_front,
            queue_limit=Settings.load().queue_limit,
            at=datetime.now(UTC) + timedelta(seconds=delay) if delay else None,
        )
        if batch:
            asyncio.run(submit_batch(broker, submission, batch)).show(as_json=as_json)
            return 0
        job = asyncio.run(_submit(broker, submission, wait=wait))
    return _show(job, as_json, failed_is_error=wait)


@click.command()
@click.argument("job_id", metavar="ID")
@as_json_option
def status(job_id: str, as_json: bool) -> int:
    """Show how a job does."""
    with _broker() as broker:
        return _show(broker.job(job_id), as_json)


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--failed", is_flag=True, help="All failed jobs.")
@as_json_option
def retry(job_id: str | None, failed: bool, as_json: bool) -> int:
    """Run a failed job again, or with --failed all of them."""
    if (job_id is None) != failed:
        raise click.UsageError("Give either the ID of a job, or --failed.")
    with _broker() as broker:
        if job_id is not None:
            broker.actions.retry(job_id)
            return _show(broker.job(job_id), as_json)
        job_ids = broker.actions.retry_failed()
    click.echo(json.dumps({"retried": job_ids}) if as_json else f"{len(job_ids)} queued again")
    return 0


@click.command()
@click.argument("job_id", metavar="ID")
@as_json_option
def cancel(job_id: str, as_json: bool) -> int:
    """Cancel a job; one that runs is interrupted, and a second later killed."""
    with _broker() as broker:
        broker.actions.cancel(job_id)
        return _show(broker.job(job_id), as_json)


@contextmanager
def _broker() -> Iterator[Broker]:
    settings = Settings.load()
    broker = Broker.open(settings, Catalogue.load(settings.tasks))
    try:
        yield broker
    except RedisError as error:
        raise RedisAway(f"Redis does not answer: {error}. Is `paddock up` running?") from error
    finally:
        broker.client.close()


def _parameters(
    catalogue: Catalogue, task: str, typed: tuple[str, ...], given: str | None
) -> dict[str, object]:
    split = [pair.partition("=") for pair in typed]
    if wrong := [key for key, equals, _ in split if not equals]:
        raise click.UsageError(f"Parameters are given as KEY=VALUE; {wrong[0]!r} has no '='.")
    parameters = catalogue[task].parameters
    try:
        body = fields_to_json([(key, value) for key, _, value in split], parameters.schema)
        return parameters.accept(body, given)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors()]
        raise ParametersInvalid(f"{task}: {'; '.join(told)}") from error
    except ValueError as error:
        raise ParametersInvalid(f"{task}: {error}") from error


async def _submit(broker: Broker, submission: Submission, *, wait: bool) -> JobRecord:
    try:
        job = await _enqueue(broker, submission)
        return await _watch(broker, job) if wait else job
    finally:
        await broker.async_client.aclose()


async def _enqueue(broker: Broker, submission: Submission) -> JobRecord:
    try:
        return await broker.enqueuer.submit(submission)
    except AlreadySubmitted as found:
        click.echo("The task is unique, and there is such a job already:", err=True)
        return await asyncio.to_thread(broker.job, found.job_id)


async def _watch(broker: Broker, job: JobRecord) -> JobRecord:
    """Show how the job does until it has ended; plain lines where stderr is no terminal."""
    console = Console(stderr=True)
    with console.status(progress_line(job)) as display:
        shown = job.status
        while not await broker.ended(job.id, LOOK_INTERVAL):
            job = await asyncio.to_thread(broker.job, job.id)
            display.update(progress_line(job))
            if job.status is not shown and not console.is_terminal:
                click.echo(f"{job.id} {job.status}", err=True)
            shown = job.status
    return broker.job(job.id)


def _show(job: JobRecord, as_json: bool, *, failed_is_error: bool = False) -> int:
    click.echo(job_as_json(job) if as_json else job_as_text(job))
    sys.stdout.flush()
    ended_badly = job.status in (Status.FAILED, Status.CANCELED)
    return 1 if failed_is_error and ended_badly else 0

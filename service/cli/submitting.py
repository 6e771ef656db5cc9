"""`paddock submit TASK`: one job, or a batch of them. It speaks to Redis, not to the API."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import IO, Literal

import click
from pydantic import ValidationError
from rich.console import Console

from jobs.catalogue import Catalogue
from jobs.text import fields_to_json
from service.broker.broker import Broker
from service.broker.chaining import check_chaining
from service.broker.enqueuer import Submission
from service.broker.intake import LONGEST_DELAY
from service.broker.records import JobRecord
from service.cli.batches import submit_batch
from service.cli.connecting import open_broker
from service.cli.output import as_json_option, show
from service.cli.watching import watch_job
from service.errors import AlreadySubmitted, ParametersInvalid
from service.settings import Settings


@click.command()
@click.argument("task")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--wait", is_flag=True, help="Wait until it has ended; status 1 if it failed.")
@click.option(
    "--delay", type=click.FloatRange(0, LONGEST_DELAY), help="Seconds until it is queued."
)
@click.option(
    "--expires-in",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds within which it has to be started; else it is canceled.",
)
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
    expires_in: float | None,
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
    if delay and expires_in and delay >= expires_in:
        raise click.UsageError("--expires-in: it would expire before it is queued.")
    if batch and depends_on:
        raise click.UsageError("The jobs of a batch wait for no others: --depends-on is not for.")
    with open_broker() as broker:
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
            at=_from_now(delay),
            expires=_from_now(expires_in),
        )
        if batch:
            asyncio.run(submit_batch(broker, submission, batch)).show(as_json=as_json)
            return 0
        job = asyncio.run(_submit(broker, submission))
        if wait:
            job = watch_job(broker, job.id, Console(stderr=True))
    return show(job, as_json, failed_is_error=wait)


def _from_now(seconds: float | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None


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


async def _submit(broker: Broker, submission: Submission) -> JobRecord:
    try:
        return await _enqueue(broker, submission)
    finally:
        await broker.async_client.aclose()


async def _enqueue(broker: Broker, submission: Submission) -> JobRecord:
    try:
        return await broker.enqueuer.submit(submission)
    except AlreadySubmitted as found:
        click.echo("The task is unique, and there is such a job already:", err=True)
        return await asyncio.to_thread(broker.job, found.job_id)

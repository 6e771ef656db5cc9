"""`paddock submit TASK --batch FILE`: many jobs at once, all of them or none."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import click
from pydantic import ValidationError

from service.broker.broker import Broker
from service.errors import ParametersInvalid
from service.submission import Submission


@dataclass(frozen=True, slots=True)
class Batch:
    """What was accepted."""

    id: str
    task: str
    count: int

    def show(self, *, as_json: bool) -> None:
        """In a line, or as the API does (without the jobs' ids)."""
        told = {"id": self.id, "task": self.task, "count": self.count}
        click.echo(json.dumps(told) if as_json else f"{self.id}  {self.task}  {self.count} jobs")


async def submit_batch(broker: Broker, submission: Submission, lines: Iterable[bytes]) -> Batch:
    """A job for each line that is not empty.

    Raises `ParametersInvalid`, which names the line, and `RedisAway`.
    """
    task = submission.task
    try:
        async with broker.batch_enqueuer.begin(submission) as staging:
            for number, line in enumerate(lines, 1):
                if text := line.strip():
                    try:
                        parameters = task.parameters.accept(text)
                    except ValidationError as error:
                        raise ParametersInvalid(f"Line {number}: {_told(error)}") from error
                    await staging.add(parameters)
            if not staging.count:
                raise ParametersInvalid("There is no line to make a job of.")
            await staging.commit()
        return Batch(staging.id, task.name, staging.count)
    finally:
        await broker.async_client.aclose()


def _told(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, row['loc'])) or 'line'}: {row['msg']}" for row in error.errors()
    )

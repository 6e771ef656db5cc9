"""Adding a job to a transaction, and having it sent when that has committed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, event
from sqlalchemy.orm import Mapper, Session, object_session, scoped_session

from service.adapters.door import Door
from service.adapters.outbox.sweeper import Sweeper, sweeper_of
from service.adapters.outbox.table import OutboxRow
from service.broker.enqueuer import new_job_id
from service.broker.intake import Options
from service.errors import OptionsInvalid
from service.submission import Submission
from service.tracing.spans import current_trace

if TYPE_CHECKING:  # it wants greenlet, which programs without an event loop need not have
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

AnySession: TypeAlias = "Session | scoped_session[Any] | AsyncSession | async_scoped_session[Any]"

_SWEEPERS = "paddock_outbox_sweepers"  # in the session's info: those of what it has written


def add(session: AnySession, door: Door, submission: Submission, options: Options) -> str:
    """Add it to the session's transaction; the id that the job will have.

    Raises `OptionsInvalid` where another job could come to stand for this one.
    """
    _refuse_what_may_be_another(submission, options)
    row = OutboxRow(
        id=new_job_id(),
        task=submission.task.name,
        parameters=json.dumps(submission.parameters),
        options=_as_json(options),
        created_at=datetime.now(UTC),
        door=door,
    )
    # The unit of work writes it: so it knows of savepoints and of several databases, and needs no
    # connection here, which code on an event loop couldn't wait for.
    session.add(row)
    return row.id


def _refuse_what_may_be_another(submission: Submission, options: Options) -> None:
    task = submission.task
    if task.policy.unique:
        raise OptionsInvalid(
            f"{task.name} is unique: when this transaction commits, another job may stand for it, "
            "which its id would not name. Submit it after the commit.",
            errors=[],
        )
    if options.idempotency_key is not None:
        raise OptionsInvalid(
            "idempotency_key: another job may bear it when this transaction commits. What a "
            "transaction submits is enqueued once anyhow; to have only one transaction do so, use "
            "a unique column of your own.",
            errors=[],
        )


def _as_json(options: Options) -> str:
    """A delay counts from now on, not from when it is sent. The job is part of what goes on now."""
    given = replace(options, delay=None, at=options.moment).given()
    if trace := current_trace():
        given["trace"] = trace
    return json.dumps(given, default=_plain)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Sequence():
            return list(value)
    raise TypeError(f"{value!r} is no JSON")


@event.listens_for(OutboxRow, "after_insert")
def _written(_mapper: Mapper[OutboxRow], connection: Connection, row: OutboxRow) -> None:
    session = object_session(row)
    if session is not None:
        sweepers: set[Sweeper] = session.info.setdefault(_SWEEPERS, set())
        sweepers.add(sweeper_of(connection.engine, row.door))


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint is released, and nothing is final
        return
    # What was rolled back has left its sweepers here as well. They find nothing.
    for sweeper in session.info.pop(_SWEEPERS, ()):
        sweeper.nudge()

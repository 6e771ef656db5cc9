"""Reading the outbox and clearing it: what a sweep does in the database."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from service.adapters.outbox.sending import Fate, Outcome
from service.adapters.outbox.table import outbox

logger = logging.getLogger("paddock.outbox")

# Relays of these pass over rows that another one is sending. On others two may send the same row
# at the same moment: both succeed, and one job comes of it.
_SKIP_LOCKED = frozenset({"postgresql", "mysql", "mariadb"})


def prepare(connection: Connection) -> None:
    """Have the connection's transactions lock the rows that they read, and no more.

    Whatever the engine is set to: a transaction that commits by itself locks nothing, and a
    repeatable one keeps MySQL's writers from adding rows.
    """
    if _locks(connection):
        connection.execution_options(isolation_level="READ COMMITTED")


def take(connection: Connection, after: str, most: int, *, refused_too: bool) -> Sequence[Row[Any]]:
    """The oldest rows whose ids are beyond this one. They stay locked until `settle`."""
    query = select(outbox).where(outbox.c.id > after).order_by(outbox.c.id).limit(most)
    if not refused_too:
        query = query.where(outbox.c.error.is_(None))
    if _locks(connection):
        return connection.execute(query.with_for_update(skip_locked=True)).all()
    rows = connection.execute(query).all()
    connection.commit()  # or nobody could write to a SQLite file while Redis is waited for
    return rows


def settle(connection: Connection, outcomes: Collection[Outcome]) -> None:
    """Delete the rows that were sent, note what keeps others from it, and unlock all."""
    # By one id at a time: for a list of them MySQL may look at all rows, and wait for other relays.
    this = outbox.c.id == bindparam("row")
    sent = [outcome.row.id for outcome in outcomes if outcome.fate is Fate.SENT]
    if sent:
        connection.execute(delete(outbox).where(this), [{"row": job_id} for job_id in sent])
    refused = [outcome for outcome in outcomes if outcome.fate is Fate.REFUSED]
    expected = _waiting_here(connection, [o.misses for o in refused if o.misses])
    news = [o for o in refused if o.misses not in expected and o.row.error != o.reason]
    if news:
        connection.execute(
            update(outbox).where(this).values(error=bindparam("reason")),
            [{"row": outcome.row.id, "reason": outcome.reason} for outcome in news],
        )
    connection.commit()
    for outcome in news:
        logger.error("%s of %s is refused: %s", outcome.row.id, outcome.row.task, outcome.reason)


def _waiting_here(connection: Connection, job_ids: Collection[str]) -> set[str]:
    """Those of the jobs that have not been sent yet."""
    if not job_ids:
        return set()
    return set(connection.scalars(select(outbox.c.id).where(outbox.c.id.in_(job_ids))))


def _locks(connection: Connection) -> bool:
    return connection.dialect.name in _SKIP_LOCKED

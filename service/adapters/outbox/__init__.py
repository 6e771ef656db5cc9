"""Jobs that are submitted by a transaction of SQLAlchemy 2: when it commits, and not if it doesn't.

    async with outbox_relay(engine):        # in the application's lifespan
        ...
    async with sessions.begin() as session:
        session.add(order)
        job = jobs.submit_on_commit(session, send_receipt, order_id=7)

What is submitted stands in the table `paddock_outbox` of the same database, written by the same
transaction, until Redis has it. Nothing else in Paddock imports SQLAlchemy.
"""

from service.adapters.outbox.adding import AnySession, add
from service.adapters.outbox.relay import AsyncRelay, Relay, outbox_relay
from service.adapters.outbox.table import OutboxRow, metadata, outbox

__all__ = [
    "AnySession",
    "AsyncRelay",
    "OutboxRow",
    "Relay",
    "add",
    "metadata",
    "outbox",
    "outbox_relay",
]

"""The table that holds jobs in the program's own database until they are sent."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, DateTime, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.orm import registry

from service.adapters.door import Door

_JSON = Text().with_variant(LONGTEXT(), "mysql", "mariadb")  # their TEXT ends at 64 KiB

metadata = MetaData()  #: for `metadata.create_all(engine)`, and beside yours in Alembic's env.py

outbox = Table(
    "paddock_outbox",
    metadata,
    Column("id", String(36), primary_key=True),  # the job's; it sorts by the time it was made
    Column("task", String(255), nullable=False),
    Column("parameters", _JSON, nullable=False),
    Column("options", _JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("error", Text, nullable=True),  # why it was refused, when it was last tried
)


@dataclass(eq=False)
class OutboxRow:
    """A job that is to be sent. A session writes it as it writes the program's own objects."""

    id: str
    task: str
    parameters: str  #: JSON
    options: str  #: JSON
    created_at: datetime
    door: Door  #: what it is sent through when this transaction has committed; not in the table


registry(metadata=metadata).map_imperatively(OutboxRow, outbox)

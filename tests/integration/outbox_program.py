"""A program with a database of its own, which submits jobs by its transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select
from sqlalchemy.orm import Session, sessionmaker

from jobs.catalogue import Catalogue
from service.adapters.door import Door
from service.adapters.jobs import BlockingJobs
from service.adapters.outbox import metadata, outbox, outbox_relay
from service.errors import RedisAway
from service.settings import Settings
from tests.integration.databases import Database

orders_metadata = MetaData()
orders = Table(
    "orders",
    orders_metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), unique=True),
)


class Program:
    """One process's worth of it; several stand for several processes."""

    def __init__(self, database: Database, settings: Settings, catalogue: Catalogue) -> None:
        self.database = database
        self.door = Door(settings, catalogue)
        self.jobs = BlockingJobs(self.door)
        self.engine = create_engine(database.url)
        self.sessions = sessionmaker(self.engine)
        self.relay = outbox_relay(self.engine, self.door)

    def create_tables(self) -> None:
        metadata.create_all(self.engine)
        orders_metadata.create_all(self.engine)

    def order(self, session: Session, name: str) -> None:
        session.execute(insert(orders).values(name=name))

    def ordered(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(orders.c.name).order_by(orders.c.id)))

    def outbox(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(outbox).order_by(outbox.c.id)))

    def is_sent(self) -> bool:
        return not self.outbox()

    def can_sweep(self) -> bool:
        """Sweep, unless Redis is away."""
        try:
            self.relay.sweep()
        except RedisAway:
            return False
        return True

    def close(self) -> None:
        self.door.close()
        self.engine.dispose()


@contextmanager
def running(database: Database, settings: Settings, catalogue: Catalogue) -> Iterator[Program]:
    program = Program(database, settings, catalogue)
    yield program
    program.close()


def job_ids(client: redis.Redis) -> list[str]:
    """Of all jobs that there are."""
    keys = client.scan_iter("rq:job:*", _type="hash", count=1000)
    return sorted(key.decode().removeprefix("rq:job:") for key in keys)


def queued(client: redis.Redis, queue: str = "default") -> list[str]:
    return [each.decode() for each in client.lrange(f"rq:queue:{queue}", 0, -1)]

"""The broker of a command: the commands about jobs and queues speak to Redis, not to the API."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.errors import RedisAway
from service.settings import Settings


@contextmanager
def open_broker() -> Iterator[Broker]:
    """By the settings in force. Raises `RedisAway` where Redis leaves the command in the lurch."""
    settings = Settings.load()
    broker = Broker.open(settings, Catalogue.load(settings.tasks))
    try:
        yield broker
    except RedisError as error:
        raise RedisAway(f"Redis does not answer: {error}. Is `paddock up` running?") from error
    finally:
        broker.client.close()

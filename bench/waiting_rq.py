"""Put jobs on an RQ queue: `python -m bench.waiting_rq QUEUE PATH COUNT`."""

import os
import sys

from rq import Queue

from bench import waits
from service.broker.connection import connect


def enqueue(queue: str, path: str, count: int) -> None:
    """So many jobs, by RQ's own client."""
    connection = connect(os.environ["PADDOCK_REDIS_URL"])
    to = Queue(queue, connection=connection, serializer="json")
    for _ in waits.turns(count):
        to.enqueue_call(path, timeout=600, result_ttl=3600)


if __name__ == "__main__":
    enqueue(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""Send Celery jobs: `python -m bench.waiting_celery NAME COUNT`."""

import sys

from bench import celery_app, waits


def enqueue(name: str, count: int) -> None:
    """So many, by Celery's own client."""
    for _ in waits.turns(count):
        getattr(celery_app, name).delay()


if __name__ == "__main__":
    enqueue(sys.argv[1], int(sys.argv[2]))

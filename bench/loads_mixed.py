"""Jobs of very different lengths, for the estimates of when they start and end."""

import random
import time

from jobs import job


@job
def short() -> None:
    """Up to a tenth of a second."""
    time.sleep(random.uniform(0.02, 0.1))


@job
def long() -> None:
    """Some seconds, and now and then three times as many."""
    time.sleep(random.uniform(1, 3) * (3 if random.random() < 0.1 else 1))


@job(queue="later")
def later() -> None:
    """About half a second, on a queue that is served after the other."""
    time.sleep(random.uniform(0.3, 0.7))

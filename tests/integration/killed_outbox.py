"""A program that commits a job and dies by kill -9 on the job's way to Redis.

    python -m tests.integration.killed_outbox before|after DATABASE_URL

`before` it is sent, with the commit done; `after`, with its row not yet deleted.
"""

import os
import signal
import sys
import time
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from service.adapters.jobs import BlockingJobs
from service.adapters.outbox import sweep
from service.adapters.outbox.sweeper import Sweeper
from tests.sample_tasks import echo


def die(*_arguments: Any, **_options: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    when, url = sys.argv[1:]
    if when == "before":
        Sweeper.nudge = die  # type: ignore[method-assign]
    else:
        sweep.settle = die
    with Session(create_engine(url)) as session:
        BlockingJobs().submit_on_commit(session, echo, when)
        session.commit()
    time.sleep(60)  # until it is dead

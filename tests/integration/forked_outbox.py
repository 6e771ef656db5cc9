"""A program that forks while it sends, as servers do that load before they fork.

    python -m tests.integration.forked_outbox DATABASE_URL

The child commits a job and waits until it is sent; the parent's sending never ends.
"""

import os
import sys
import time
from concurrent.futures import Future

from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from service.adapters.door import the_door
from service.adapters.jobs import BlockingJobs
from service.adapters.outbox import outbox
from service.adapters.outbox.sweeper import sweeper_of
from tests.sample_tasks import echo

if __name__ == "__main__":
    engine = create_engine(sys.argv[1])
    sweeper = sweeper_of(engine, the_door())
    sweeper._work = Future()
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    engine.dispose(close=False)
    with Session(engine) as session:
        BlockingJobs().submit_on_commit(session, echo, "of the child")
        session.commit()
        while session.scalars(select(outbox.c.id)).all():
            time.sleep(0.02)

"""How far off the estimates are of when jobs start and end, with real workers and a mixed load.

    python -m bench.eta [--jobs 200] [--workers 2] [--seed 1]

Short and long jobs, and some on a queue that is served last, are submitted at once, in any order.
While they run, all that wait are asked for their estimate again and again; in the end each is set
beside what happened. Nothing is known of the tasks but what twenty executions of each have shown.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.servers import processes, redis_server
from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.broker.connection import connect_async
from service.broker.enqueuer import Enqueuer, Submission
from service.broker.records import JobRecord
from service.broker.status import Status
from service.settings import Settings

MODULE = "bench.loads_mixed"
MIX = {"short": 6, "long": 3, "later": 1}
KNOWN = 20  # executions of each task before
LOOKS = 20  # jobs asked in each round
PAUSE = 1.0  # seconds between rounds


@dataclass(frozen=True)
class Guess:
    """What was said of a job, and how long before it came."""

    job_id: str
    said_at: datetime
    start_at: datetime
    end_at: datetime


def main() -> None:
    """Run the load and print how far off the estimates were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with redis_server() as (url, _client):
        catalogue = Catalogue.load((MODULE,))
        broker = Broker.open(Settings(redis_url=url), catalogue)
        command = [sys.executable, "-m", "worker", "--queues", "default,later"]
        ours = {"PADDOCK_REDIS_URL": url, "PADDOCK_TASKS": MODULE, "PYTHONPATH": str(Path.cwd())}
        with processes(options.workers, command, os.environ | ours):
            until_ended(broker, submit(url, catalogue, [*MIX] * KNOWN))
            names = chance.choices([*MIX], [*MIX.values()], k=options.jobs)
            wanted = submit(url, catalogue, names)
            guesses = ask(broker, wanted, chance)
        records = {record.id: record for record in broker.reader.read(wanted) if record}
        broker.client.close()
    for name in ("start", "end"):
        print(report(name, guesses, records))


def submit(url: str, catalogue: Catalogue, names: list[str]) -> list[str]:
    """A job of each of these tasks, in this order; their ids."""

    async def submit_all() -> list[str]:
        client = connect_async(url)
        try:
            enqueuer = Enqueuer(client)
            submissions = [Submission(task=catalogue[name], parameters={}) for name in names]
            return [(await enqueuer.submit(each)).id for each in submissions]
        finally:
            await client.aclose()

    return asyncio.run(submit_all())


def until_ended(broker: Broker, ids: list[str]) -> None:
    """Wait for all of them."""
    while not all(job and job.status.is_final for job in broker.reader.read(ids)):
        time.sleep(0.2)


def ask(broker: Broker, ids: list[str], chance: random.Random) -> list[Guess]:
    """Some of those that wait, again and again, until all have ended."""
    guesses = []
    while True:
        jobs = [job for job in broker.reader.read(ids) if job and not job.status.is_final]
        if not jobs:
            return guesses
        waiting = [job for job in jobs if job.status is Status.QUEUED]
        for job in chance.sample(waiting, min(LOOKS, len(waiting))):
            eta = broker.forecaster.eta(job)
            if eta and eta.start_at and eta.end_at:
                guesses.append(Guess(job.id, datetime.now(UTC), eta.start_at, eta.end_at))
        time.sleep(PAUSE)


def report(what: str, guesses: list[Guess], records: dict[str, JobRecord]) -> str:
    """How far off they were, in seconds and as a share of the time until it came."""
    off, shares = [], []
    for guess in guesses:
        record = records[guess.job_id]
        came = record.started_at if what == "start" else record.ended_at
        said = guess.start_at if what == "start" else guess.end_at
        if came is None or came <= guess.said_at:
            continue  # it was taken as it was asked
        off.append(abs((came - said).total_seconds()))
        shares.append(off[-1] / (came - guess.said_at).total_seconds())
    tenth = statistics.quantiles(off, n=10)[-1]
    return (
        f"{what}: {len(off)} estimates, off by {statistics.median(off):.2f} s "
        f"({statistics.median(shares):.0%} of the time until then) in the median, "
        f"nine of ten by less than {tenth:.2f} s"
    )


if __name__ == "__main__":
    main()

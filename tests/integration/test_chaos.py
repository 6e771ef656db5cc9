"""Workers, horses and schedulers killed at random while jobs run: every job finishes.

`make chaos` runs it in full; otherwise it is shorter. PADDOCK_CHAOS_JOBS says how many jobs.
"""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import redis

from tests.conftest import Start, eventually
from tests.integration.conftest import Jobs

JOBS = int(os.environ.get("PADDOCK_CHAOS_JOBS", "120"))
WORKERS = 3
LONGEST = 900  # seconds; a bound for hangs
SEED = 20261123


def descendants(pid: int) -> list[int]:
    """The processes below this one, the schedulers and horses among them."""
    found: list[int] = []
    below = [pid]
    while below:
        each = below.pop()
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:  # it has ended
            continue
        children = [int(child) for child in text.split()]
        found += children
        below += children
    return found


@pytest.mark.timeout(LONGEST + 60)
def test_every_job_finishes_whatever_is_killed(
    jobs: Jobs, start: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    """`paddock work` starts killed workers again; nobody helps the jobs."""
    trace = tmp_path / "runs"
    chance = random.Random(SEED)
    many = [
        {"path": str(trace), "line": str(number), "seconds": chance.choice([0, 0.02, 0.1, 0.5])}
        for number in range(JOBS)
    ]
    half = len(many) // 2
    ids = jobs.submit_many("append_line", many[:half])
    ids += jobs.submit_many("append_line", many[half:], delay=1)  # these pass the scheduler
    supervisor = start(sys.executable, "-m", "service.cli", "work", "--count", str(WORKERS))
    # A job may meet with more than three of so many killings through no fault of its own.
    connection.eval(
        "for _, id in ipairs(ARGV) do redis.call('HSET', 'rq:job:' .. id, 'max_crashes', 1000) end",
        0,
        *ids,
    )
    killed: Counter[str] = Counter()
    calm = threading.Event()

    def kill_at_random() -> None:
        while not calm.wait(chance.uniform(0.05, 0.6)):
            victims = descendants(supervisor.pid)
            if not victims:
                continue
            victim = chance.choice(victims)
            workers = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
            kind = "worker" if str(victim) in workers.split() else "horse or scheduler"
            try:
                os.kill(victim, signal.SIGKILL)
                killed[kind] += 1
            except ProcessLookupError:
                continue

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    began = time.monotonic()
    try:
        # Most of it under fire; the last ones in peace, since a job can be hit for ever.
        eventually(lambda: connection.zcard("rq:finished:default") >= JOBS * 0.9, LONGEST)
    finally:
        calm.set()
        killer.join()
    eventually(lambda: connection.zcard("rq:finished:default") == JOBS, LONGEST)
    runs = Counter(trace.read_text().split())
    doubles = sum(count - 1 for count in runs.values())
    print(
        f"{JOBS} jobs finished in {time.monotonic() - began:.0f} s under {dict(killed)} killed; "
        f"0 lost, {doubles} executions more than jobs"
    )
    assert set(runs) == {str(number) for number in range(JOBS)}
    assert {jobs.status(job_id) for job_id in ids} == {"finished"}
    assert killed["worker"] and killed["horse or scheduler"]
    assert connection.zcard("rq:wip:default") == connection.llen("rq:queue:default") == 0

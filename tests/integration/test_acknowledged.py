"""Redis is killed again and again while clients submit: what was acknowledged is there.

`make durability` runs it in full; otherwise it is shorter. PADDOCK_ACKNOWLEDGED says how many
submissions are to be acknowledged, PADDOCK_KILLS how often Redis is killed meanwhile.
"""

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.settings import Settings
from tests.conftest import TASKS, RedisServer, Start
from tests.integration.test_event_loop import serve

ACKNOWLEDGED = int(os.environ.get("PADDOCK_ACKNOWLEDGED", "2000"))
KILLS = int(os.environ.get("PADDOCK_KILLS", "3"))
CLIENTS = 8
LONGEST = 600  # seconds; a bound for hangs
SEED = 20261124


class Client(threading.Thread):
    """Submits one job after the other, as fast as it can."""

    def __init__(self, url: str, enough: threading.Event) -> None:
        super().__init__()
        self._address, self._enough = urlsplit(url).netloc, enough
        self.acknowledged: list[str] = []
        self.in_doubt: list[str] = []
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        headers = {"Content-Type": "application/json"}
        while not self._enough.is_set():
            connection.request("POST", "/tasks/echo", b'{"value": 1}', headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status == 202:
                self.acknowledged.append(body["id"])
                kind = "acknowledged"
            elif body["in_doubt"]:
                self.in_doubt.append(body["job"])
                kind = "in doubt"
            else:
                kind = "refused"
            self.answers[kind] += 1
        connection.close()


@pytest.mark.timeout(LONGEST + 60)
def test_no_acknowledged_job_is_lost_when_redis_is_killed(
    own: RedisServer, start: Start, tmp_path: Path
) -> None:
    settings = Settings(redis_url=own.url, data_dir=tmp_path, tasks=TASKS)
    enough, chance = threading.Event(), random.Random(SEED)
    url = serve(start, **settings.environment())
    clients = [Client(url, enough) for _ in range(CLIENTS)]
    began = time.monotonic()
    for client in clients:
        client.start()
    try:
        for kill in range(1, KILLS + 1):
            time.sleep(chance.uniform(0.05, 0.5))
            # The kills are spread over the whole of it.
            while acknowledged(clients) < ACKNOWLEDGED * kill / (KILLS + 1):
                assert time.monotonic() - began < LONGEST, "too few are acknowledged"
                time.sleep(0.001)
            own.kill()
            time.sleep(chance.uniform(0, 0.7))
            own.start()
        while acknowledged(clients) < ACKNOWLEDGED:
            assert time.monotonic() - began < LONGEST, "too few are acknowledged"
            time.sleep(0.01)
    finally:
        enough.set()
        for client in clients:
            client.join()
    own.kill()
    own.start()  # what the last of them wrote is read off the disk, too

    there = Counter(job_id.decode() for job_id in own.client.lrange("rq:queue:default", 0, -1))
    accepted = [job_id for client in clients for job_id in client.acknowledged]
    doubted = [job_id for client in clients for job_id in client.in_doubt]
    missing = [job_id for job_id in accepted if job_id not in there]
    answers = sum((client.answers for client in clients), Counter())
    print(
        f"{KILLS} kills in {time.monotonic() - began:.0f} s: {dict(answers)}; {len(missing)} "
        f"acknowledged ones missing; of those in doubt {sum(j in there for j in doubted)} are there"
    )
    assert len(accepted) >= ACKNOWLEDGED
    assert missing == []
    assert set(there) <= {*accepted, *doubted}, "one that was refused is there"
    assert set(there.values()) == {1}, "one was pushed twice"
    assert all(own.client.exists(f"rq:job:{job_id}") for job_id in there)


def acknowledged(clients: list[Client]) -> int:
    return sum(len(client.acknowledged) for client in clients)

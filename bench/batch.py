"""A hundred thousand jobs in one request, through a real `paddock serve`: how fast, at what cost.

    python -m bench.batch [--jobs 100000] [--rounds 3] [--kind lines|array|both]

The Redis syncs at each write (`appendfsync always`). The clock runs from the request's first byte
to the answer's last. While a batch is taken in, another caller asks `/health/live` and submits
single jobs, and is timed.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from bench.servers import redis_server

TASK = "noop_with"
PIECE = 1_000  # jobs sent at once


def main() -> None:
    """Run the rounds and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=("lines", "array", "both"), default="both")
    options = parser.parse_args()
    kinds = ("lines", "array") if options.kind == "both" else (options.kind,)
    with redis_server() as (url, client), tempfile.TemporaryDirectory() as folder:
        port, process = serve(url, folder, options.jobs)
        try:
            before = memory(process.pid, "VmRSS")
            for number in range(options.rounds):
                for kind in kinds:
                    client.flushall()
                    client.config_set("slowlog-log-slower-than", 1000)  # microseconds
                    client.config_set("slowlog-max-len", 10_000)
                    client.slowlog_reset()
                    figures = round_trip(port, client, kind, options.jobs)
                    figures["peak MiB of the API"] = memory(process.pid, "VmHWM")
                    figures["MiB before"] = before
                    figures["Redis's longest commands, ms"] = longest(client)
                    print(f"{number + 1} {kind}: {json.dumps(figures)}", flush=True)
        finally:
            process.terminate()
            process.wait()


def serve(url: str, folder: str, jobs: int) -> tuple[int, "subprocess.Popen[bytes]"]:
    """A service of its own, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    environment = {
        "PADDOCK_REDIS_URL": url,
        "PADDOCK_TASKS": "bench.loads",
        "PADDOCK_DATA_DIR": folder,
        "PADDOCK_MAX_BATCH": str(jobs),
        "PYTHONPATH": str(Path.cwd()),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", "--port", str(port)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    )
    while True:
        try:
            ask(port, "GET", "/health/live")
            return port, process
        except OSError:
            time.sleep(0.05)


def ask(port: int, method: str, path: str, body: Any = None, kind: str = "") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request(method, path, body, {"Content-Type": kind} if kind else {})
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, content


def round_trip(port: int, client: "redis.Redis", kind: str, jobs: int) -> dict[str, Any]:
    """One batch, with another caller beside it."""
    beside = Beside(port)
    beside.start()
    media_type = "application/x-ndjson" if kind == "lines" else "application/json"
    pieces = lines(jobs) if kind == "lines" else array(jobs)
    began = time.perf_counter()
    status, content = ask(port, "POST", f"/tasks/{TASK}/batch", pieces, media_type)
    took = time.perf_counter() - began
    beside.over = True
    beside.join()
    answer = json.loads(content)
    assert (status, answer["count"], len(answer["jobs"])) == (202, jobs, jobs), content[:500]
    assert client.llen("rq:queue:default") == jobs + beside.submitted
    began = time.perf_counter()
    status, content = ask(port, "GET", f"/batches/{answer['id']}")
    assert json.loads(content)["counts"]["queued"] == jobs
    return {
        "jobs/s": round(jobs / took),
        "GET /batches/{id}, ms": round((time.perf_counter() - began) * 1000, 1),
        "others' answers": len(beside.waits),
        "their median, ms": round(statistics.median(beside.waits) * 1000, 1),
        "their slowest, ms": round(max(beside.waits) * 1000, 1),
    }


class Beside(threading.Thread):
    """A caller who wants an answer while a batch is taken in."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.over, self.submitted = port, False, 0
        self.waits: list[float] = []

    def run(self) -> None:
        """Ask until it is over."""
        while not self.over:
            began = time.perf_counter()
            assert ask(self.port, "GET", "/health/live")[0] == 200
            self.waits.append(time.perf_counter() - began)
            began = time.perf_counter()
            body = json.dumps({"number": 1, "text": "alone"})
            assert ask(self.port, "POST", f"/tasks/{TASK}", body, "application/json")[0] == 202
            self.waits.append(time.perf_counter() - began)
            self.submitted += 1
            time.sleep(0.02)


def lines(jobs: int) -> Iterator[bytes]:
    """NDJSON."""
    for start in range(0, jobs, PIECE):
        yield b"".join(b"%s\n" % item(n) for n in range(start, min(start + PIECE, jobs)))


def array(jobs: int) -> Iterator[bytes]:
    """The same as an array."""
    for start in range(0, jobs, PIECE):
        items = b",".join(item(n) for n in range(start, min(start + PIECE, jobs)))
        yield (b"," if start else b"[") + items
    yield b"]"


def item(number: int) -> bytes:
    """One set of parameters."""
    return b'{"number": %d, "text": "to user-%d@example.com"}' % (number, number)


def memory(pid: int, field: str) -> int:
    """VmRSS or VmHWM in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise LookupError(field)


def longest(client: "redis.Redis") -> list[float]:
    """How long the three slowest of the last commands held the server."""
    slow = sorted((entry["duration"] for entry in client.slowlog_get(10_000)), reverse=True)
    return [microseconds / 1000 for microseconds in slow[:3]]


if __name__ == "__main__":
    main()

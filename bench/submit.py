"""Submissions per second over HTTP: Paddock beside its alternatives, in one run.

    python -m bench.submit [--rounds 3] [--seconds 4] [--out bench/results]

Each contender is one uvicorn process that `wrk -t1 -c32` posts to. Paddock checks a key and the
parameters, and its Redis syncs at each write; the others' Redis syncs each second, as is usual.
`wrk` has to be installed (apt-get install wrk).
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.engine import celery_url
from bench.report import plot_bars, submit_table
from bench.servers import processes, redis_server

CONNECTIONS = 32
WARM_UP = 1  # seconds
START_WITHIN = 30  # seconds
KEY = "bench-key-of-24-characters"
SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Contender:
    """A service, and where to post to."""

    path: str
    app: str | None = None  #: for uvicorn; Paddock itself where there is none
    fsync: str = "everysec"
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, port: int) -> list[str]:
        """What runs it."""
        if self.app is None:
            return [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
        options = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
        return [sys.executable, "-m", "uvicorn", self.app, *options]


PADDOCK = {"PADDOCK_TASKS": "bench.loads", "PADDOCK_API_KEYS": KEY}
CONTENDERS = {
    "no-op endpoint": Contender("/noop", "bench.endpoints:app"),
    "BackgroundTasks": Contender("/background", "bench.endpoints:app"),
    "RQ, def": Contender("/rq", "bench.endpoints:app"),
    "RQ, async def that blocks": Contender("/rq-blocking", "bench.endpoints:app"),
    "Celery, def": Contender("/celery", "bench.endpoints:app"),
    "Celery, async def that blocks": Contender("/celery-blocking", "bench.endpoints:app"),
    "Paddock, synced": Contender("/tasks/noop", fsync="always", environment=PADDOCK),
}


def main() -> None:
    """Run everything, print the table, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each contender in each round")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    figures = measure(options.rounds, options.seconds)
    print(submit_table(figures))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "submit.json").write_text(json.dumps(figures, indent=2) + "\n")
    rates = {name: row["rate"] for name, row in figures.items()}
    plot_bars(rates, "accepted per second, one process", options.out / "submit.svg")


def measure(rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    """Name → requests per second and latencies in ms; medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):  # round by round, so that noise hits all alike
        for name, contender in CONTENDERS.items():
            found[name].append(measure_once(contender, seconds))
            print(f"round {number + 1}: {name} {found[name][-1]}", file=sys.stderr)
    return {
        name: {figure: statistics.median(row[figure] for row in rows) for figure in rows[0]}
        for name, rows in found.items()
    }


def measure_once(contender: Contender, seconds: int) -> dict[str, float]:
    """One contender on a Redis of its own."""
    with redis_server() as (url, client), free_port() as port:
        client.config_set("appendfsync", contender.fsync)
        own = {"PADDOCK_REDIS_URL": url, "BENCH_REDIS": celery_url(url), "BENCH_RQ": url}
        environment = os.environ | own | contender.environment
        with processes(1, contender.command(port), environment):
            await_port(port)
            address = f"http://127.0.0.1:{port}{contender.path}"
            wrk(address, WARM_UP)
            return wrk(address, seconds)


def wrk(address: str, seconds: int) -> dict[str, float]:
    """Requests per second, and latencies in ms, of requests that were all accepted."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT), address]
    done = subprocess.run(
        command, env=os.environ | {"BENCH_KEY": KEY}, capture_output=True, text=True, check=True
    )
    (figures,) = re.findall(r"^FIGURES (.*)$", done.stdout, re.MULTILINE)
    told: dict[str, Any] = json.loads(figures)
    if told.pop("refused"):
        raise RuntimeError(f"{address} refused some:\n{done.stdout}")
    return told


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    yield port


def await_port(port: int) -> None:
    """Until somebody listens on it."""
    until = time.monotonic() + START_WITHIN
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


if __name__ == "__main__":
    main()

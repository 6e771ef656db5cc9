"""Jobs that mostly wait: Paddock beside its alternatives, in one run.

    python -m bench.waiting [--rounds 2] [--jobs 1000] [--concurrency 100] [--out bench/results]

All Redis-backed contenders use one server with `appendfsync always`. The jobs are enqueued first;
the clock runs from the first job's own note that it has begun to the last one's that it has ended.
Those that run a job in each process get fewer jobs: a thousand would take eight minutes.
"""

import argparse
import contextlib
import importlib.metadata
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from bench.report import waiting_table
from bench.servers import processes, redis_server

LOADS = ("sleep", "fetch")
LATENCY_SAMPLES = 20
MEMORY_INTERVAL = 0.2  # seconds between looks at the memory
PATIENCE = 300.0  # seconds
SETTLE = 4.0  # seconds from starting a worker until it is idle
PACKAGES = ("arq", "saq", "taskiq", "taskiq-redis", "celery", "rq", "fastapi", "uvloop", "redis")


@dataclass(frozen=True)
class Contender:
    """How its workers are started, and how jobs are put in; both are commands."""

    worker: list[str]
    enqueue: list[str]
    names: tuple[str, str] = LOADS
    workers: int = 1
    share: float = 1.0  #: of the jobs
    listens_first: bool = False  #: it keeps nothing: what is sent before it runs is lost


def main() -> None:
    """Run everything, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--only", help="contenders whose names hold this")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    figures = measure(options.rounds, options.jobs, options.concurrency, options.only or "")
    print(waiting_table(figures))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "waiting.json").write_text(json.dumps(figures, indent=2) + "\n")


def contenders(url: str, concurrency: int, background: str) -> dict[str, Contender]:
    """By name. The last ones run as many jobs at once as there are cores."""
    python, many = sys.executable, str(concurrency)
    cores = os.cpu_count() or 1
    arq = os.environ.get("BENCH_ARQ_PYTHON", python)  # its newest release wants an older redis-py
    rq_enqueue = [python, "-m", "bench.waiting_rq"]
    stock = [python, "-m", "rq.cli", "worker", "-S", "json", "-q", "-u", url, "default"]
    taskiq = [python, "-m", "taskiq", "worker", "bench.taskiq_app:broker", "--workers", "1"]
    celery = [python, "-m", "celery", "-A", "bench.celery_app"]
    threads = [*celery, "worker", "-P", "threads", "-c", many, "--loglevel", "ERROR"]
    uvicorn = [python, "-m", "uvicorn", "--log-level", "error", "bench.background_app:app"]
    fd_port = background.rpartition(":")[2]
    ours = [*rq_enqueue, "io", "bench.loads_waiting.{}.run"]
    return {
        "Paddock, async": Contender([python, "-m", "worker", "--io"], ours),
        "Paddock, thread": Contender(
            [python, "-m", "worker", "--io"], ours, ("sleep_in_thread", "fetch_in_thread")
        ),
        "arq": Contender(
            [arq, "-m", "arq", "bench.arq_app.WorkerSettings"], [arq, "-m", "bench.arq_app"]
        ),
        "SAQ": Contender(
            [python, "-m", "saq", "bench.saq_app.settings"], [python, "-m", "bench.saq_app"]
        ),
        "Taskiq": Contender(
            [*taskiq, "--max-async-tasks", many], [python, "-m", "bench.taskiq_app"]
        ),
        "Celery, threads": Contender(threads, [python, "-m", "bench.waiting_celery"]),
        "BackgroundTasks": Contender(
            [*uvicorn, "--port", fd_port],
            [python, "-m", "bench.background_app", background],
            listens_first=True,
        ),
        "Paddock, a process a job": Contender(
            [python, "-m", "worker", "--queues", "default"],
            [*rq_enqueue, "default", "bench.loads_waiting.{}.run"],
            ("sleep_apart", "fetch_apart"),
            workers=cores,
            share=0.02,
        ),
        "RQ": Contender(
            stock,
            [*rq_enqueue, "default", "bench.waits.{}"],
            ("sleep_async", "fetch_async"),
            workers=cores,
            share=0.02,
        ),
    }


def measure(rounds: int, jobs: int, concurrency: int, only: str) -> dict[str, Any]:
    """All figures; medians over the rounds."""
    seen: dict[str, dict[str, list[float]]] = {}
    with (
        redis_server() as (url, client),
        slow_server() as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        environment = surroundings(url, server, Path(folder) / "notes", concurrency)
        listed = contenders(url, concurrency, f"http://127.0.0.1:{free_port()}")
        for number in range(rounds):  # round by round, so that noise hits all alike
            for name, contender in listed.items():
                if only not in name:
                    continue
                run = partial(run_load, client, contender, environment, jobs)
                for load in LOADS:
                    for figure, value in run(load).items():
                        seen.setdefault(name, {}).setdefault(f"{load} {figure}", []).append(value)
                if number == 0:
                    seen[name]["ms"] = [latency(client, contender, environment)]
                print(f"round {number + 1}: {name}: {last(seen[name])}", file=sys.stderr)
    return {
        "jobs": jobs,
        "concurrency": concurrency,
        "load_average": os.getloadavg(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "all": seen,
        "median": {n: {k: statistics.median(v) for k, v in f.items()} for n, f in seen.items()},
    }


def last(figures: dict[str, list[float]]) -> str:
    """The newest ones, for who waits."""
    return ", ".join(f"{name} {values[-1]:.1f}" for name, values in figures.items())


def surroundings(url: str, server: str, notes: Path, concurrency: int) -> dict[str, str]:
    """What all contenders' processes get."""
    return {
        **os.environ,
        "BENCH_NOTES": str(notes),
        "BENCH_SERVER": server,
        "BENCH_SOCKET": url.removeprefix("unix://"),
        "BENCH_CONCURRENCY": str(concurrency),
        "BENCH_REDIS": url.replace("unix://", "redis+socket://"),
        "PADDOCK_REDIS_URL": url,
        "PADDOCK_TASKS": "bench.loads_waiting",
        "PADDOCK_ASYNC_CONCURRENCY": str(concurrency),
        "PYTHONPATH": str(Path.cwd()),
    }


def run_load(
    client: "redis.Redis", contender: Contender, environment: dict[str, str], jobs: int, load: str
) -> dict[str, float]:
    """Jobs a second, and the most memory that all its processes held together (PSS, MiB)."""
    client.flushall()
    notes = Path(environment["BENCH_NOTES"])
    notes.unlink(missing_ok=True)
    count = max(4, round(jobs * contender.share))
    put_in = partial(enqueue, contender, environment, load, count)
    if not contender.listens_first:
        put_in()
    with processes(contender.workers, contender.worker, environment) as pids, memory(pids) as held:
        if contender.listens_first:
            time.sleep(SETTLE)
            put_in()
        ends = times(notes, "end", count)
    begun = min(times(notes, "begin", count))
    return {"jobs/s": count / (max(ends) - begun), "MiB": max(held)}


def enqueue(contender: Contender, environment: dict[str, str], load: str, count: int) -> str:
    """By its own client; what that prints."""
    name = contender.names[LOADS.index(load)]
    command = [part.format(name) for part in contender.enqueue]
    if command == contender.enqueue:  # it takes the name as an argument of its own
        command.append(name)
    sent = subprocess.run(
        [*command, str(count)], env=environment, check=True, capture_output=True, text=True
    )
    return sent.stdout


def times(notes: Path, what: str, count: int) -> list[float]:
    """Of so many notes, as soon as they are there."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        lines = notes.read_text().splitlines() if notes.exists() else []
        found = [float(line.split()[1]) for line in lines if line.startswith(what)]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{len(found)} of {count} jobs noted their {what}")


def latency(client: "redis.Redis", contender: Contender, environment: dict[str, str]) -> float:
    """Median milliseconds from enqueuing one job to its first line, with an idle worker."""
    client.flushall()
    notes = Path(environment["BENCH_NOTES"])
    notes.unlink(missing_ok=True)
    one_by_one = {**environment, "BENCH_ONE_BY_ONE": "1", "BENCH_SECONDS": "0"}
    with processes(1, contender.worker, one_by_one):
        time.sleep(SETTLE)
        sent = enqueue(contender, one_by_one, "sleep", LATENCY_SAMPLES).split()
        begun = times(notes, "begin", LATENCY_SAMPLES)
    waits = [began - float(at) for at, began in zip(sent, begun, strict=True)]
    return 1000 * statistics.median(waits)


@contextlib.contextmanager
def memory(pids: list[int]) -> Iterator[list[float]]:
    """What these and their children hold together, looked at again and again."""
    held, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(MEMORY_INTERVAL):
            held.append(sum(pss(pid) for top in pids for pid in family(top)) / 1024)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in family(int(child)))]


def pss(pid: int) -> int:
    """KiB that are its own, and its share of what it shares with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextlib.contextmanager
def slow_server() -> Iterator[str]:
    """Its URL, for as long as the block lasts."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--log-level", "error", "--port", str(port)]
    with processes(1, [*command, "bench.slow_server:app"], dict(os.environ)):
        time.sleep(SETTLE)
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


if __name__ == "__main__":
    main()

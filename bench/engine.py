"""Jobs per second through the workers: Paddock beside its alternatives, in one run.

    python -m bench.engine [--rounds 3] [--workers 2] [--out bench/results]

All Redis-backed contenders use one server with `appendfsync always`. Each load is enqueued while
the workers are idle; the clock runs from then until the last job is on record as finished.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import redis
from rq import Queue

from bench.report import plot, table
from bench.servers import processes, redis_server

LOADS = {"noop": 300, "spin_10ms": 150, "spin_200ms": 10}  # jobs of each, times the workers
LATENCY_SAMPLES = 60
IDLE_SECONDS = 10
SETTLE = 1.0  # seconds that workers get to come to rest
QUEUE = "default"

Contender = Callable[[str, "redis.Redis", int], dict[str, float]]


def main() -> None:
    """Run everything, print the table, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    figures = measure(options.rounds, options.workers)
    print(table(figures, list(LOADS)))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "engine.json").write_text(json.dumps(figures, indent=2) + "\n")
    plot(figures, list(LOADS), options.out / "engine.svg")


def measure(rounds: int, workers: int) -> dict[str, Any]:
    """All figures; rates are medians over the rounds."""
    rates: dict[str, dict[str, list[float]]] = {}
    with redis_server() as (url, client):
        for number in range(rounds):  # round by round, so that noise hits all alike
            for name, contender in contenders().items():
                for load, rate in contender(url, client, workers).items():
                    rates.setdefault(name, {}).setdefault(load, []).append(rate)
                print(f"round {number + 1}: {name} done", file=sys.stderr)
        commands = {"RQ worker": stock(url), "Paddock": ours()}
        return {
            "workers": workers,
            "rates": {n: {k: statistics.median(v) for k, v in r.items()} for n, r in rates.items()},
            "numpy": {n: numpy_rate(url, client, workers, c) for n, c in commands.items()},
            "pickup_ms": {
                "RQ worker": pickup(url, client, stock(url), "bench.plain.tell_time_plain"),
                "Paddock": pickup(url, client, ours(), "bench.loads.tell_time.run"),
            },
            "idle": {n: idle_cost(url, client, c) for n, c in commands.items()},
        }


def contenders() -> dict[str, Contender]:
    """Name → what runs the loads and tells the jobs per second of each."""
    return {
        "RQ worker": lambda url, client, n: rq_rates(url, client, n, stock(url), "bench.plain.{}"),
        "Celery prefork": lambda url, client, n: celery_rates(url, client, n, []),
        "Celery, a process a job": lambda url, client, n: celery_rates(
            url,
            client,
            n,
            ["--max-tasks-per-child", "1"],
            0.1,  # it takes very long
        ),
        "ProcessPoolExecutor": lambda _url, _client, n: pool_rates(n),
        "Paddock": lambda url, client, n: rq_rates(url, client, n, ours(), "bench.loads.{}.run"),
        "Paddock, shared": lambda url, client, n: rq_rates(
            url, client, n, ours(), "bench.loads.{}_shared.run"
        ),
    }


def stock(url: str) -> list[str]:
    """A stock RQ worker."""
    return [sys.executable, "-m", "rq.cli", "worker", "-S", "json", "-q", "-u", url, QUEUE]


def ours() -> list[str]:
    """Ours."""
    return [sys.executable, "-m", "worker", "--queues", QUEUE]


def environment(url: str) -> dict[str, str]:
    """What all contenders' processes get."""
    paddock = {"PADDOCK_REDIS_URL": url, "PADDOCK_TASKS": "bench.loads,bench.loads_numpy"}
    return os.environ | paddock | {"BENCH_REDIS": celery_url(url), "PYTHONPATH": str(Path.cwd())}


def celery_url(url: str) -> str:
    """Celery's name for a unix socket."""
    return url.replace("unix://", "redis+socket://")


def rq_rates(
    url: str, client: "redis.Redis", workers: int, command: list[str], path: str
) -> dict[str, float]:
    """Of RQ workers, stock or ours."""
    client.flushall()
    with processes(workers, command, environment(url)):
        await_workers(client, workers)
        return {
            load: rq_rate(client, path.format(load), count * workers)
            for load, count in LOADS.items()
        }


def await_workers(client: "redis.Redis", count: int) -> None:
    """Until so many have registered, and have come to rest."""
    while client.scard("rq:workers") < count:
        time.sleep(0.05)
    time.sleep(SETTLE)


def rq_rate(client: "redis.Redis", path: str, count: int) -> float:
    """Jobs a second of one load."""
    queue = Queue(QUEUE, connection=client, serializer="json")
    finished = queue.finished_job_registry.key
    before = client.zcard(finished)
    started = time.perf_counter()
    queue.enqueue_many([Queue.prepare_data(path, result_ttl=3600) for _ in range(count)])
    while client.zcard(finished) < before + count:
        time.sleep(0.005)
    return count / (time.perf_counter() - started)


def celery_rates(
    url: str, client: "redis.Redis", workers: int, options: list[str], share: float = 1
) -> dict[str, float]:
    """Of one Celery worker with so many processes, from this share of the jobs."""
    client.flushall()
    os.environ["BENCH_REDIS"] = celery_url(url)
    from bench import celery_app  # it reads the address when it is imported

    command = [sys.executable, "-m", "celery", "-A", "bench.celery_app", "worker"]
    command += ["--concurrency", str(workers), "--loglevel", "ERROR", *options]
    with processes(1, command, environment(url)):
        celery_app.noop.delay().get(timeout=60)
        return {
            load: celery_rate(
                client, celery_app.app, getattr(celery_app, load), round(count * workers * share)
            )
            for load, count in LOADS.items()
        }


def celery_rate(client: "redis.Redis", app: Any, task: Any, count: int) -> float:
    """Jobs a second of one load, sent while the worker does not listen, as sending takes long."""
    app.control.cancel_consumer("celery", reply=True)
    before = results_kept(client)
    for _ in range(count):
        task.delay()
    started = time.perf_counter()
    app.control.add_consumer("celery")
    while results_kept(client) < before + count:
        time.sleep(0.02)
    return count / (time.perf_counter() - started)


def results_kept(client: "redis.Redis") -> int:
    """By Celery."""
    return len(client.keys("celery-task-meta-*"))


def pool_rates(workers: int) -> dict[str, float]:
    """Of the standard library's pool, which keeps nothing."""
    from bench import plain

    # Spawned: the others' clients have left threads in this process, which must not be forked.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pool.submit(plain.noop).result()
        rates = {}
        for load, count in LOADS.items():
            started = time.perf_counter()
            futures = [pool.submit(getattr(plain, load)) for _ in range(count * workers)]
            for future in futures:
                future.result()
            rates[load] = count * workers / (time.perf_counter() - started)
        return rates


def numpy_rate(url: str, client: "redis.Redis", workers: int, command: list[str]) -> float:
    """No-op jobs a second, of a task whose module imports numpy."""
    client.flushall()
    with processes(workers, command, environment(url)):
        await_workers(client, workers)
        return rq_rate(client, "bench.loads_numpy.mean.run", 30 * workers)


def pickup(url: str, client: "redis.Redis", command: list[str], path: str) -> float:
    """Median milliseconds from enqueuing to the task's first line, with one idle worker."""
    client.flushall()
    queue = Queue(QUEUE, connection=client, serializer="json")
    waits = []
    with processes(1, command, environment(url)):
        await_workers(client, 1)
        for _ in range(LATENCY_SAMPLES):
            sent = time.time()
            job = queue.enqueue_call(path)
            while (result := job.latest_result()) is None:
                time.sleep(0.002)
            waits.append((result.return_value - sent) * 1000)
            time.sleep(0.05)
    return statistics.median(waits)


def idle_cost(url: str, client: "redis.Redis", command: list[str]) -> dict[str, float]:
    """What one idle worker (ours with its scheduler) costs."""
    client.flushall()
    with processes(1, command, environment(url)) as (pid,):
        await_workers(client, 1)
        cpu, commands = cpu_seconds(pid), commands_processed(client)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(pid) - cpu
        asked = commands_processed(client) - commands - 1  # the question itself
    return {
        "core_percent": 100 * used / IDLE_SECONDS,
        "commands_per_second": asked / IDLE_SECONDS,
    }


def cpu_seconds(pid: int) -> float:
    """Of a process and the children that it has now."""
    total, pids = 0.0, [pid]
    while pids:
        each = pids.pop()
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        pids += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return total


def commands_processed(client: "redis.Redis") -> int:
    """By the server, those inside scripts included."""
    return int(client.info("stats")["total_commands_processed"])


if __name__ == "__main__":
    main()

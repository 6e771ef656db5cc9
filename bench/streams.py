"""Open event streams on one API process: what they take, and how late a line arrives.

    python -m bench.streams [--streams 10,100,1000] [--lines 2000] [--rate 200]

`paddock serve` runs as it does for users, with one process. Each stream follows a job of its own.
Lines are written into the journals as a worker's script writes them, evenly over the jobs, and each
bears the time; this process reads all the streams, so what it takes to read them counts as well.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.servers import processes, redis_server
from jobs.catalogue import Catalogue
from service.broker.connection import connect_async
from service.broker.enqueuer import Enqueuer, Submission
from service.journal import JOURNAL

AT_ONCE = 50  # streams that are opened at a time
SETTLE = 2.0  # seconds
WRITE = JOURNAL + "journal(KEYS[1], ARGV[1], ARGV[2], 1)"


@dataclass(frozen=True)
class Row:
    """So many streams."""

    streams: int
    resident: float  #: MiB of the API process
    connections: int  #: of the API process to Redis
    subscriptions: int  #: of them, such as listen
    late: list[float]  #: seconds from a line's writing to its arrival
    cpu: float  #: seconds of the API process for a second of time

    def markdown(self, empty: float) -> str:
        """As a row of the table."""
        each = (self.resident - empty) * 1024 / self.streams
        quantiles = statistics.quantiles(self.late, n=100)
        return (
            f"| {self.streams} | {self.resident:.0f} MiB | {each:.0f} KiB | {self.connections} "
            f"({self.subscriptions}) | {quantiles[49] * 1000:.1f} ms | "
            f"{quantiles[98] * 1000:.1f} ms | {self.cpu * 100:.0f} % |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", default="10,100,1000")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=200, help="Lines a second.")
    options = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    counts = [int(count) for count in options.streams.split(",")]
    with redis_server() as (url, client), socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
        ours = {"PADDOCK_REDIS_URL": url, "PYTHONPATH": str(Path.cwd())}
        with processes(1, command, os.environ | ours) as (pid,):
            asyncio.run(_measure(url, client, port, pid, counts, options.lines, options.rate))


async def _measure(
    url: str,
    client: "redis.Redis",
    port: int,
    pid: int,
    counts: list[int],
    lines: int,
    rate: int,
) -> None:
    ids = await _jobs(url, max(counts))
    (await _opened(port, ids[0], [])).cancel()  # the first one loads what all need
    await asyncio.sleep(SETTLE)
    empty = _resident(pid)
    print(f"{empty:.0f} MiB without streams; {rate} lines a second\n")
    print("| streams | memory | each | to Redis (listening) | median | p99 | CPU |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for count in counts:
        row = await _with(client, port, pid, ids[:count], lines, rate)
        print(row.markdown(empty), flush=True)
        await asyncio.sleep(SETTLE)


async def _jobs(url: str, count: int) -> list[str]:
    task = Catalogue.load(("jobs",))["heavy_cpu_task"]
    client = connect_async(url)
    try:
        enqueuer = Enqueuer(client)
        submissions = [Submission(task=task, parameters={"n": number}) for number in range(count)]
        return [(await enqueuer.submit(submission)).id for submission in submissions]
    finally:
        await client.aclose()


async def _with(
    client: "redis.Redis", port: int, pid: int, ids: list[str], lines: int, rate: int
) -> Row:
    late: list[float] = []
    readers: list[asyncio.Task[None]] = []
    for start in range(0, len(ids), AT_ONCE):
        opened = (_opened(port, job_id, late) for job_id in ids[start : start + AT_ONCE])
        readers += await asyncio.gather(*opened)
    await asyncio.sleep(SETTLE)
    began, cpu_before = time.monotonic(), _cpu_seconds(pid)
    await asyncio.to_thread(_write, client, ids, lines, rate)
    await asyncio.sleep(0.5)
    cpu = (_cpu_seconds(pid) - cpu_before) / (time.monotonic() - began)
    ours = client.client_list()  # and the one that asks
    listening = [each for each in ours if int(each["sub"]) > 0]
    row = Row(len(ids), _resident(pid), len(ours) - 1, len(listening), late[:], cpu)
    assert len(late) == lines, f"{len(late)} of {lines} lines arrived"
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return row


async def _opened(port: int, job_id: str, late: list[float]) -> "asyncio.Task[None]":
    """A stream that has told its first event, read from now on."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)  # the server begins
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"event: status")
    return asyncio.create_task(_read(reader, writer, late))


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: list[float]
) -> None:
    try:
        while line := await reader.readline():
            if line.startswith(b'data: {"lines"'):
                now = time.time()
                told = json.loads(line.removeprefix(b"data: "))["lines"]
                late += [now - float(each["text"]) for each in told]
    finally:
        writer.close()


def _write(client: "redis.Redis", ids: list[str], lines: int, rate: int) -> None:
    script = client.register_script(WRITE)
    due = time.monotonic()
    for number in range(lines):
        job_id = ids[number % len(ids)]
        now = time.time()
        entry = {"event": "log", "lines": [[now, "stdout", None, repr(now)]]}
        script(keys=[f"rq:job:{job_id}"], args=[job_id, json.dumps(entry)])
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

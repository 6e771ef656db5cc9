"""Type checkers know what a task takes and returns through the executor as well."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FITS = """
import asyncio
import functools
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import assert_type

from service.adapters.executor import JobExecutor
from service.adapters.future import JobFuture
from service.adapters.jobs import BlockingJob
from tests.sample_executor_tasks import Parcel, divide, multiply, weigh

executor = JobExecutor()
assert_type(executor.submit(multiply, 6, y=7), JobFuture[int])
assert_type(executor.submit(multiply, 6, 7).result(), int)
assert_type(executor.submit(multiply, 6, 7).job, BlockingJob[int])
assert_type(executor.submit(weigh, Parcel(3)), JobFuture[int])  # an `async` task
assert_type(executor.submit(functools.partial(divide, divisor=3), 7).result(), tuple[int, int])
assert_type(executor.map(multiply, [1], [2]), Iterator[int])
anybodys: Executor = executor
future: Future[int] = anybodys.submit(multiply, 1, 2)


async def main() -> None:
    loop = asyncio.get_running_loop()
    assert_type(await loop.run_in_executor(executor, multiply, 6, 7), int)
"""

DOES_NOT_FIT = """
from service.adapters.executor import JobExecutor
from tests.sample_executor_tasks import multiply

executor = JobExecutor()
executor.submit(multiply, "6", 7)
executor.submit(multiply, 6)
executor.submit(multiply, 6, z=7)
"""


def _mypy(text: str, folder: Path) -> list[str]:
    path = folder / "caller.py"
    path.write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", path]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_calls_that_fit_are_known_by_their_types(tmp_path: Path) -> None:
    assert _mypy(FITS, tmp_path) == []


def test_calls_that_do_not_fit_are_found(tmp_path: Path) -> None:
    found = {line.split(":")[1] for line in _mypy(DOES_NOT_FIT, tmp_path)}
    lines = DOES_NOT_FIT.splitlines()
    assert found == {str(n) for n, line in enumerate(lines, 1) if "submit(" in line}

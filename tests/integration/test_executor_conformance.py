"""CPython's own tests of Executors, run against JobExecutor over real workers.

They are imported from the test suite of the Python that runs this, or of the same version of
Debian's (libpython3.11-testsuite, say). They submit builtins and small functions of theirs,
which stand in no catalogue; for each of these a declared task is submitted that does the same.
"""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import unittest
import warnings
from collections.abc import Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service.adapters.door import Door, standing_in
from service.adapters.executor import JobExecutor
from service.execution.limits import die_with_parent
from service.settings import Settings
from tests import sample_executor_tasks as tasks
from tests.conftest import ROOT, a_redis, eventually

WORKERS = 3  # as many as one of the tests needs at the same time

VERSION = sys.version_info[:2]
NAME = "test.test_concurrent_futures"  # one module before 3.12, since then a package


class Misfit(NamedTuple):
    """Why one of CPython's tests can't pass here, and the first version that has it."""

    why: str
    since: tuple[int, int] = (3, 11)


PRIVATE = "it looks into private attributes of ProcessPoolExecutor"
POOLS_OWN = "it makes, or sets up, a ProcessPoolExecutor itself"
PROGRAM = (
    "its program imports the executor from concurrent.futures; what is meant is held by "
    "test_a_program_may_end_before_its_jobs and "
    "test_a_thread_gets_its_result_after_the_main_thread_is_done"
)

# Every one is run all the same, and has to fail: one that has come to pass is to be taken out.
MISFITS: Mapping[str, Mapping[str, Misfit]] = {
    "ProcessPoolExecutorTest": {
        "test_submit_keyword": Misfit(
            "one of its functions takes *args and **kwargs: a task's parameters have names"
        ),
        "test_no_stale_references": Misfit(
            "it submits a method, and waits for its object to be gone: arguments travel as JSON"
        ),
        "test_max_workers_negative": Misfit("the number of workers is not the executor's"),
        "test_killed_child": Misfit(
            PRIVATE + ", to kill a worker and see the pool broken; a job would be run again"
        ),
        "test_traceback": Misfit(
            "it submits a method, and wants the cause to be of a private class; "
            "test_a_jobs_own_exception_is_raised_with_where_it_was_raised holds what is meant"
        ),
        "test_ressources_gced_in_workers": Misfit(
            "its argument is an object that a process shares; arguments travel as JSON"
        ),
        "test_saturation": Misfit(PRIVATE),
        "test_idle_process_reuse_one": Misfit(PRIVATE),
        "test_idle_process_reuse_multiple": Misfit(PRIVATE),
        "test_max_tasks_per_child": Misfit(POOLS_OWN),
        "test_max_tasks_per_child_defaults_to_spawn_context": Misfit(POOLS_OWN),
        "test_max_tasks_early_shutdown": Misfit(POOLS_OWN),
        "test_python_finalization_error": Misfit(POOLS_OWN, since=(3, 13)),
    },
    "ProcessPoolShutdownTest": {
        "test_interpreter_shutdown": Misfit(PROGRAM + "; a job prints where its worker does"),
        "test_submit_after_interpreter_shutdown": Misfit(PROGRAM),
        "test_hang_gh83386": Misfit(PROGRAM),
        "test_processes_terminate": Misfit(POOLS_OWN),
        "test_context_manager_shutdown": Misfit(POOLS_OWN),
        "test_del_shutdown": Misfit(POOLS_OWN),
        "test_shutdown_no_wait": Misfit(POOLS_OWN),
    },
    "WaitTests": {},
    "AsCompletedTests": {},
}

# By the name of what CPython's tests submit.
TASKS = {
    "abs": tasks.magnitude,
    "divmod": tasks.divide,
    "int": tasks.zero,
    "make_dummy_object": tasks.wrap,
    "mul": tasks.multiply,
    "pow": tasks.power,
    "sleep": tasks.rest,
    "sleep_and_raise": tasks.rest_and_raise,
    "str": tasks.spell,
}


class Translating(JobExecutor):
    """A JobExecutor that submits a task for each of those functions."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(_task(fn), *args, **kwargs)

    def map(self, fn: Any, *iterables: Any, **options: Any) -> Any:
        return super().map(_task(fn), *iterables, **options)


def _task(function: Any) -> Any:
    return TASKS.get(getattr(function, "__name__", ""), function)


def _suite() -> Path | None:
    """The `test` package of this version of Python that has these tests."""
    own = Path(sysconfig.get_path("stdlib"))
    debians = Path("/usr/lib/python{}.{}".format(*VERSION))
    for folder in (own / "test", debians / "test"):
        found = folder / NAME.partition(".")[2]
        if found.with_suffix(".py").exists() or (found / "executor.py").exists():
            return folder
    return None


def _modules(folder: Path) -> list[Any]:
    """Those that hold the tests. They want `test.support` to be their own suite's."""
    spec = importlib.util.spec_from_file_location(
        "test", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = sys.modules["test"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    parts = ["test_process_pool", "test_shutdown", "test_wait", "test_as_completed", "util"]
    names = [NAME] if VERSION < (3, 12) else [f"{NAME}.{part}" for part in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [importlib.import_module(name) for name in names]


def _cases(folder: Path) -> Iterator[tuple[str, type]]:
    """A test case of each of CPython's mixins."""
    modules = _modules(folder)

    def found(name: str) -> Any:
        return next(vars(module)[name] for module in modules if name in vars(module))

    for name, misfits in MISFITS.items():
        mixin = found(name)
        body = {
            test: _has_to_fail(getattr(mixin, test), misfit.why)
            for test, misfit in misfits.items()
            if misfit.since <= VERSION and hasattr(mixin, test)
        }
        body |= {"executor_type": Translating, "__module__": __name__}
        # Not CPython's own base: that wants the threads of each test to have ended after it.
        yield name, type(name, (mixin, found("ExecutorMixin"), unittest.TestCase), body)


def _has_to_fail(test: Any, why: str) -> Any:
    @pytest.mark.xfail(reason=why, strict=True)
    @wraps(test)
    def run(self: unittest.TestCase) -> None:
        test(self)

    return run


FOLDER = _suite()
if FOLDER is None:
    pytest.skip(
        "no test suite of Python {}.{} is installed (on Debian: libpython{}.{}-testsuite)".format(
            *VERSION, *VERSION
        ),
        allow_module_level=True,
    )
CASES = dict(_cases(FOLDER))
globals().update(CASES)


@pytest.mark.parametrize("name", MISFITS)
def test_the_table_names_tests_that_there_are(name: str) -> None:
    tests = set(unittest.TestLoader().getTestCaseNames(CASES[name]))
    assert {test for test, misfit in MISFITS[name].items() if misfit.since <= VERSION} <= tests


def test_the_docs_name_those_that_do_not_fit() -> None:
    listed = (ROOT / "docs/from-process-pool.md").read_text().partition("## CPython's own")[2]
    named = set(re.findall(r"`(test_\w+)`", listed)) - {"test_concurrent_futures"}
    assert named == {test for misfits in MISFITS.values() for test in misfits}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    parent = os.getpid()
    with a_redis() as server:
        settings = Settings(
            redis_url=server.url,
            data_dir=server.data_dir,
            tasks=(tasks.__name__,),
            workers=WORKERS,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "work"],
            cwd=ROOT,
            env=os.environ | settings.environment(),
            preexec_fn=lambda: die_with_parent(parent),
        )
        try:
            eventually(lambda: server.client.scard("rq:workers") >= WORKERS)
            with standing_in(Door(settings)):
                yield
        finally:
            process.terminate()
            process.wait()

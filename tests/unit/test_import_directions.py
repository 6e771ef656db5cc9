"""Imports point one way: api → broker → jobs, worker → execution → jobs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the modules below each path must not import, and why nobody should want to.
FORBIDDEN = {
    "jobs": ["service", "worker", "fastapi", "starlette"],
    "service/broker": ["service.api", "service.execution", "service.cli", "worker", "fastapi"],
    "service/execution": ["service.api", "service.broker", "service.cli", "worker", "fastapi"],
    "service/adapters": ["service.api", "service.execution", "service.cli", "worker"],
    "service/api": ["service.execution", "service.cli", "worker", "redis_sentinel_url"],
    "service/api/page": ["redis", "rq", "service.schedule_store", "service.history"],
    "service/settings.py": ["service.api", "service.broker", "service.execution", "rq", "redis"],
    "service/errors.py": ["service.settings", "service.api", "service.broker", "fastapi", "rq"],
    # What broker and execution share, since neither may import the other.
    "service/submission.py": ["service.api", "service.broker", "service.execution", "fastapi"],
    "service/batch_store.py": ["service.api", "service.broker", "service.execution", "fastapi"],
    "service/batch_marks.py": ["service.api", "service.broker", "service.execution", "rq"],
    "service/pausing.py": ["service", "rq", "redis"],
    "service/cancellation.py": ["service.api", "service.broker", "service.execution", "rq"],
    "service/history.py": ["service.api", "service.broker", "service.execution", "rq", "redis"],
    "service/durations.py": ["service", "jobs", "rq", "redis"],
    "service/depths.py": ["service.api", "service.broker", "service.execution", "rq"],
    "service/waiting.py": ["service.api", "service.broker", "service.execution", "fastapi"],
    "service/webhooks": ["service.api", "service.broker", "service.execution", "fastapi"],
    "service/schedule_store.py": ["service.api", "service.broker", "service.execution", "rq"],
    # Runs where nothing of the service is installed.
    "service/client": [
        *("service.api", "service.broker", "service.execution", "service.cli", "service.errors"),
        *("service.settings", "service.submission", "service.batch_store", "service.waiting"),
        *("jobs", "worker", "fastapi", "starlette", "pydantic", "redis", "rq", "uvicorn"),
    ],
    "service/testing": ["service.api", "service.cli", "worker", "fastapi", "starlette"],
    "service/tally.py": ["service.api", "service.broker", "service.execution", "rq", "redis"],
    "service/logs.py": ["service.api", "service.broker", "service.execution", "rq", "fastapi"],
    "service/tracing": ["service.api", "service.broker", "service.execution", "rq", "fastapi"],
    "service/supervisor.py": ["service.api", "service.broker", "rq", "redis", "fastapi"],
    "worker.py": ["service.api", "service.cli", "fastapi", "starlette"],
}

# RQ is known to the broker and to the workers. The dashboard mends RQ's own web page.
KNOW_RQ = (
    "service/broker",
    "service/execution",
    "service/submission.py",
    "service/batch_store.py",
    "service/waiting.py",
    "service/webhooks/notice.py",
    "service/api/dashboard",
    "service/testing",
    "worker.py",
)


def _modules() -> list[Path]:
    folders = [ROOT / "service", ROOT / "jobs"]
    return [ROOT / "worker.py", *(path for folder in folders for path in folder.rglob("*.py"))]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize("below", FORBIDDEN)
def test_nothing_imports_against_the_direction(below: str) -> None:
    modules = [path for path in _modules() if path.is_relative_to(ROOT / below)]
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules
        for name in _imports(path)
        if any(_within(name, package) for package in FORBIDDEN[below])
    ]
    assert not wrong


def test_rq_is_known_to_the_broker_and_the_workers_only() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _modules()
        if not any(path.is_relative_to(ROOT / known) for known in KNOW_RQ)
        and any(_within(name, "rq") for name in _imports(path))
    ]
    # A task that must not be retried tells RQ so; it imports RQ then and not before.
    assert wrong == ["jobs/declaration.py"]


def test_the_test_kit_is_for_tests_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules()
        if not path.is_relative_to(ROOT / "service/testing")
        for name in _imports(path)
        if _within(name, "service.testing")
    ]
    assert not wrong


def test_sqlalchemy_is_known_to_the_outbox_only() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _modules()
        if not path.is_relative_to(ROOT / "service/adapters/outbox")
        and any(_within(name, "sqlalchemy") for name in _imports(path))
    ]
    assert not wrong


def test_prometheus_is_known_to_its_route_only() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _modules()
        if not path.is_relative_to(ROOT / "service/api/metrics")
        and any(_within(name, "prometheus_client") for name in _imports(path))
    ]
    assert not wrong


def test_a_worker_never_loads_the_web_framework() -> None:
    script = "import sys, worker; print('fastapi' in sys.modules, 'starlette' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.split() == ["False", "False"]


def test_a_router_for_an_application_does_not_load_the_dashboard() -> None:
    script = "import sys; from service.api import paddock_router; print('flask' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.split() == ["False"]


def test_no_module_is_a_junk_drawer() -> None:
    assert not [path for path in _modules() if path.stem in ("utils", "helpers", "common")]

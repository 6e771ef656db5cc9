"""The README is true: its commands print what it shows, its tables leave nothing out."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
START_PATIENCE = 60  # seconds


def sessions() -> Iterator[tuple[str, str]]:
    """Each command of the tour, and what the README says it prints (… stands for anything)."""
    for block in CONSOLE.findall(README):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = session.partition("\n")
            yield command, output.strip()


@pytest.fixture
def paddock() -> Iterator[tuple[Path, str]]:
    """Paddock, up in an empty folder that has the repository's .venv; the folder and its port."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:
        folder = Path(name)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        environment = {k: v for k, v in os.environ.items() if k != "PADDOCK_DATA_DIR"}
        up = subprocess.Popen(
            [folder / ".venv/bin/paddock", "up", "--port", "0"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert up.stdout is not None
        lines = iter(up.stdout.readline, "")
        address = next(line for line in lines if line.startswith("  API"))
        try:
            yield folder, re.search(r":(\d+)", address)[1]  # type: ignore[index]
        finally:
            up.terminate()
            up.wait(START_PATIENCE)
            up.stdout.close()


def test_the_tour_prints_what_the_readme_shows(paddock: tuple[Path, str]) -> None:
    folder, port = paddock
    listed = list(sessions())
    assert len(listed) >= 7
    for command, shown in listed:
        here = command.replace("localhost:8000", f"localhost:{port}")
        ran = subprocess.run(
            here, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        expected = re.escape(shown).replace("…", r"[^\"\n]*")
        assert re.fullmatch(expected, ran.stdout.strip()), f"$ {here}\n{ran.stdout}{ran.stderr}"


def test_the_task_that_the_readme_adds_can_be_declared_and_run(tmp_path: Path) -> None:
    (source,) = PYTHON.findall(README)
    (tmp_path / "count_words.py").write_text(source)
    script = "from count_words import count_words; print(count_words.run(text='a b A'))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert eval(ran.stdout) == {"a": 2, "b": 1}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readmes_table(name: str) -> None:
    row = re.search(rf"^\| `PADDOCK_{name.upper()}` \| .* \| (.*) \|$", README, re.MULTILINE)
    assert row is not None and row[1] == Settings.model_fields[name].description


def test_the_readme_names_no_setting_that_there_is_not() -> None:
    known = {f"PADDOCK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"PADDOCK_[A-Z_]+", README)) == known


def test_every_route_is_in_the_readmes_table(api: TestClient) -> None:
    section = README.partition("## The API")[2].partition("\n## ")[0]
    table = set(re.findall(r"`(GET|POST|DELETE) (/[^`?]*)`", section))
    document = api.get("/openapi.json").json()
    routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    tasks = {
        (method, path) for method, path in routes if re.fullmatch(r"/tasks/\w+(/batch)?", path)
    }
    of_each_task = {("POST", "/tasks/{task}"), ("POST", "/tasks/{task}/batch")}
    assert routes - tasks == table - of_each_task
    assert of_each_task <= table and tasks

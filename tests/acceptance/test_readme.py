"""The README is true: its commands print what it shows, its tables leave nothing out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.settings import Settings
from tests.acceptance.sessions import a_shell, sessions
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_tour_prints_what_the_readme_shows() -> None:
    listed = sessions(ROOT / "README.md")
    assert len(listed) >= 7
    with a_shell() as shell:
        shell.up()  # stands for `make up`
        for session in listed:
            shell.run(session)


def test_the_task_that_the_readme_adds_can_be_declared_and_run(tmp_path: Path) -> None:
    (source,) = (block for block in PYTHON.findall(README) if "count_words.py" in block)
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

"""mypy and pyright know the parameters and the results of tasks, wherever these are submitted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "tests/typing").glob("[a-z]*.py"))


def _wrong_lines(sample: Path) -> set[int]:
    lines = sample.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def _by_mypy(sample: Path) -> dict[int, str]:
    ran = _run("mypy", "--output=json", str(sample.relative_to(ROOT)))
    found = map(json.loads, ran.splitlines())
    return {it["line"]: it["message"] for it in found if it["severity"] == "error"}


def _by_pyright(sample: Path) -> dict[int, str]:
    report = json.loads(
        _run("pyright", "--outputjson", "--pythonpath", sys.executable, str(sample))
    )
    assert report["summary"]["filesAnalyzed"] == 1
    return {
        it["range"]["start"]["line"] + 1: it["message"]
        for it in report["generalDiagnostics"]
        if it["severity"] == "error"
    }


def _run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-m", program, *arguments]
    quiet = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.timeout(300)  # pyright is fetched at its first run
@pytest.mark.parametrize("checker", [_by_mypy, _by_pyright])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_type_checkers_find_what_is_wrong_and_nothing_else(sample: Path, checker: object) -> None:
    found = checker(sample)  # type: ignore[operator]
    assert found.keys() == _wrong_lines(sample) and found, found

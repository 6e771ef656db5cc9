"""mypy and pyright know the parameters and the results of tasks, wherever these are submitted."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "tests/typing").glob("[a-z]*.py"))


def _wrong_lines(sample: Path) -> set[int]:
    lines = sample.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


Found = dict[str, dict[int, str]]  # by sample's path: line → message


def _by_mypy() -> Found:
    ran = _run("mypy", "--output=json", *map(str, SAMPLES))
    told = [json.loads(line) for line in ran.splitlines()]
    return _by_sample(
        (ROOT / it["file"], it["line"], it["message"]) for it in told if it["severity"] == "error"
    )


def _by_pyright() -> Found:
    ran = _run("pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, SAMPLES))
    report = json.loads(ran)
    assert report["summary"]["filesAnalyzed"] == len(SAMPLES)
    return _by_sample(
        (Path(it["file"]), it["range"]["start"]["line"] + 1, it["message"])
        for it in report["generalDiagnostics"]
        if it["severity"] == "error"
    )


def _by_sample(errors: Iterable[tuple[Path, int, str]]) -> Found:
    found: Found = {str(sample): {} for sample in SAMPLES}
    for path, line, message in errors:
        found[str(path)][line] = message
    return found


def _run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-m", program, *arguments]
    quiet = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.timeout(300)  # pyright is fetched at its first run
@pytest.mark.parametrize("checker", [_by_mypy, _by_pyright])
def test_type_checkers_find_what_is_wrong_and_nothing_else(checker: Callable[[], Found]) -> None:
    for sample, found in checker().items():
        assert found.keys() == _wrong_lines(Path(sample)) and found, (sample, found)

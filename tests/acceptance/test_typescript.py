"""A TypeScript client generated from our OpenAPI document compiles, and works in Node."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.settings import Settings
from tests.acceptance.conftest import Up
from tests.conftest import ROOT

SOURCES = ROOT / "tests" / "typescript"
TIMEOUT = 300  # seconds; npm may have to fetch a compiler

pytestmark = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm"),
    pytest.mark.timeout(2 * TIMEOUT),
    pytest.mark.xdist_group("npm"),  # installed once
]


def npm(folder: Path, *arguments: str, **environment: str) -> str:
    ran = subprocess.run(
        ["npm", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, with what it needs."""
    folder = tmp_path_factory.mktemp("npm") / "typescript"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    npm(folder, "install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline")
    return folder


def test_a_generated_client_compiles_and_works(up: Up, program: Path) -> None:
    up.settings |= {"PADDOCK_TASKS": "jobs"}
    up.start()
    npm(program, "run", "generate", "--", f"{up.url}/openapi.json")
    npm(program, "run", "build")  # which is strict, and writes nothing where there is an error
    told = json.loads(npm(program, "--silent", "start", PADDOCK_URL=up.url))
    assert told == {
        "status": [200, "finished"],
        "sum": 285,
        "later": [True, "finished", 5],
        "listed": True,
        "resized": {"path": "none.jpg", "width": 800, "height": 800},
        "batch": [2, 2],
        "problem": [422, "urn:paddock:problem:invalid-parameters", ["n"]],
        "unknown": [404, "urn:paddock:problem:unknown-job"],
    }


def test_what_the_service_would_refuse_is_an_error_of_the_compiler(program: Path) -> None:
    """What `@ts-expect-error` stands before is one, and nothing else in the program."""
    document = create_app(Settings(), Catalogue.load(("jobs",))).openapi()
    (program / "openapi.json").write_text(json.dumps(document))
    npm(program, "run", "generate", "--", "openapi.json")
    source = (SOURCES / "client.ts").read_text()
    (program / "client.ts").write_text(source.replace("// @ts-expect-error", "//"))
    with pytest.raises(AssertionError) as refused:
        npm(program, "run", "check")
    (program / "client.ts").write_text(source)
    wrong = {int(line) for line in re.findall(r"client\.ts\((\d+),", str(refused.value))}
    lines = source.splitlines()
    assert wrong == {number + 1 for number, line in enumerate(lines, 1) if "@ts-expect" in line}
    assert len(wrong) == 8

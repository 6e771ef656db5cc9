"""The documentation is true: its code works, what it names is there, nothing is left out."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from jobs.declaration import job
from reference.api import document, operations
from service.broker.intake import Options
from service.cli import cli
from service.settings import Settings
from tests.conftest import ROOT
from tests.documents import DOCS, PAGES, Block, blocks, links, words_in_code

GUIDES = [page for page in PAGES if page.parent == DOCS]
# Pages about programs that have routes of their own, which may be called as ours are.
ABOUT_OTHER_ROUTES = {
    *("embedding.md", "from-background-tasks.md", "from-celery.md", "from-process-pool.md"),
    *("in-your-app.md", "testing.md", "transactions.md"),
}
PYTHON = blocks("python")
COMMAND = re.compile(r"(?<![\w.-])(?<!-u )(?:[\w./~-]*/)?paddock ([a-z]+)([^|;&`]*)")
FRAGMENT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST

# Imports the files that a page gives, as a program or a worker would.
TRY_OUT = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def segments(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)


ROUTES = {(method, segments(path)) for method, path, _ in operations(document())} | {
    *(("GET", (page,)) for page in ("docs", "dashboard", "openapi.json")),
    ("GET", ()),  # the page
    ("POST", ("hooks", "paddock")),  # of a receiver of webhooks
}


# Python


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_block_of_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec", FRAGMENT)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_what_a_block_of_python_imports_is_there(block: Block) -> None:
    named = [other.module for other in PYTHON if other.page == block.page]
    own = {module.partition(".")[0] for module in named if module}
    for module, name in imported(compile(block.text, str(block), "exec", FRAGMENT)):
        if module.partition(".")[0] in own - {"jobs"}:
            continue  # the page's own files, which are tried out below
        found = importlib.import_module(module)
        if name is not None and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize(
    "page", sorted({block.page for block in PYTHON if block.file}), ids=lambda page: page.name
)
def test_the_files_that_a_page_gives_can_be_imported_and_their_tests_pass(
    page: Path, tmp_path: Path
) -> None:
    first, last = {}, {}  # a page may show a file before and after
    for block in whole_files(page):
        # A folder `jobs` here would hide ours; the README's task is a module like any other.
        name = block.file.removeprefix("jobs/")
        first.setdefault(name, block.text)
        last[name] = block.text
    for files in (first, last) if first != last else (last,):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        modules = (name.removesuffix(".py").replace("/", ".") for name in files)
        run(tmp_path, "-c", TRY_OUT, *modules)
    if tests := [name for name in last if name.startswith("test_")]:
        run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


# What the words name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for line, text in words_in_code(page):
        for name, rest in COMMAND.findall(text):
            command = cli.commands.get(name)
            assert command is not None, f"{page.name}:{line}: no command: {text}"
            known = {option for parameter in command.params for option in parameter.opts} | {
                "--help"
            }
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert option in known, f"{page.name}:{line}: {name} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line, text in words_in_code(page):
        for target in re.findall(r"(?:^|\s)make (?:-\S+ )*([a-z][a-z-]*)", text):
            assert f"\n{target}:" in makefile, f"{page.name}:{line}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {f"PADDOCK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"PADDOCK_[A-Z_]+\b", page.read_text())) <= known


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in ABOUT_OTHER_ROUTES],
    ids=lambda page: page.name,
)
def test_routes_that_are_named_exist(page: Path) -> None:
    for line, text in words_in_code(page):
        for methods, path in routes(text):
            fits = {method for method, route in ROUTES if matches(segments(path), route)}
            assert fits, f"{page.name}:{line}: there is no {path}"
            assert set(methods) <= fits, f"{page.name}:{line}: {path} takes {fits}"


# What there is to be named


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_told_of_in_the_guides(name: str) -> None:
    setting = f"PADDOCK_{name.upper()}"
    assert any(re.search(rf"{setting}\b", page.read_text()) for page in GUIDES)


@pytest.mark.parametrize("name", cli.commands)
def test_each_command_is_told_of_in_the_guides(name: str) -> None:
    assert any(f"paddock {name}" in text for page in GUIDES for _, text in words_in_code(page))


@pytest.mark.parametrize("name", list(inspect.signature(typing.get_overloads(job)[1]).parameters))
def test_each_option_of_job_stands_in_the_table_on_writing_tasks(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`", (DOCS / "writing-tasks.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_each_option_of_a_call_stands_in_the_table_on_programs(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`", (DOCS / "in-your-app.md").read_text(), re.MULTILINE)


def test_each_option_of_a_command_has_a_word_of_help() -> None:
    for name, command in cli.commands.items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{name} {parameter.name}"


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_linked_are_there(page: Path) -> None:
    """Within docs/ the site's build looks closer, at headings too."""
    for target in links(page):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_the_readme_links_to_every_guide_or_to_where_they_are_listed() -> None:
    assert "docs/index.md" in set(links(ROOT / "README.md"))


# How they are read


def whole_files(page: Path) -> list[Block]:
    """The blocks of this page that say which file they are."""
    return [block for block in PYTHON if block.page == page and block.file]


def imported(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """The modules, and the names out of them."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((each.name, None) for each in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield from ((module, each.name) for each in node.names)


def run(folder: Path, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-B", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def routes(text: str) -> Iterator[tuple[list[str], str]]:
    """Methods and path of each route that is named, as in a sentence or in a call."""
    for methods, path in re.findall(
        r"\b((?:GET|POST|PUT|DELETE)(?:\|[A-Z]+)*) (/[^\s?`,\"]*)", text
    ):
        yield methods.split("|"), path
    for path in re.findall(r"localhost:8000(/[^\s?`,\"]*)", text):
        yield [], path


def matches(called: tuple[str, ...], route: tuple[str, ...]) -> bool:
    """Whether this may be a call of that route."""
    return len(called) == len(route) and all(
        part.startswith("{") or given == part for given, part in zip(called, route, strict=True)
    )

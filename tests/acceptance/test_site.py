"""The site is built whole: no link leads nowhere, and nothing comes from another host."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reference.api import document, operations
from service.settings import Settings
from tests.conftest import ROOT
from tests.documents import DOCS, blocks

pytestmark = pytest.mark.xdist_group("site")  # built once

LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
UNITS = [
    block
    for block in blocks("ini", pages=[DOCS / "deploying.md"])
    if block.text.startswith("# /etc/systemd/")
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it is built in; each warning of mkdocs is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class _Page(HTMLParser):
    """What a page loads, and its headings."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if where := given.get(LOADS.get(tag, "")):
            self.loads.append(where)
        if name := given.get("id"):
            self.ids.add(name)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_each_page_is_in_the_site_and_loads_nothing_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {page.stem for page in DOCS.glob("*.md")} < {page.stem for page in pages}
    for page in pages:
        loads = _Page(page).loads
        assert loads
        assert not [where for where in loads if re.match(r"[a-z]+:|//", where)], page.name


def test_the_style_sheets_load_nothing_from_another_host(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text())


def test_the_reference_has_each_route_with_its_parameters_and_answers(site: Path) -> None:
    text = _Page(site / "reference/api.html").text
    for method, path, operation in operations(document()):
        _, heading, rest = text.partition(f"{method} {path}¶")
        assert heading, f"{method} {path}"
        section = rest.partition("¶")[0]
        for parameter in operation.get("parameters", ()):
            assert parameter["name"] in section
        for status in operation["responses"]:
            assert status in section


def test_the_reference_has_each_schema_and_setting(site: Path) -> None:
    api = _Page(site / "reference/api.html")
    for name in document()["components"]["schemas"]:
        assert f"schema-{name.lower().replace('.', '-')}" in api.ids
    settings = _Page(site / "reference/settings.html").text
    assert all(f"PADDOCK_{name.upper()}" in settings for name in Settings.model_fields)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_systemd_knows_all_that_stands_in_the_units(unit: object, tmp_path: Path) -> None:
    text = str(getattr(unit, "text", ""))
    name = re.match(r"# /etc/systemd/system/(\S+)", text)[1]  # type: ignore[index]
    installed = text.replace("/srv/acme/.venv/bin", str(Path(sys.executable).parent))
    (tmp_path / name).write_text(installed)
    verified = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True
    )
    # It ends with 0 also where it ignores a line that it does not understand.
    assert (verified.returncode, verified.stderr) == (0, "")

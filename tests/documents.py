"""What is written for people to read, taken apart: blocks of code, words in code, links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int  #: of its first line of code
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        '''The name in its first line, `"""acme/tasks.py"""`: it is a whole file, which works.'''
        return self._named('"""', '"""')

    @property
    def module(self) -> str | None:
        """The module that it gives, also where a comment names its file: `# shop.py`."""
        file = self.file or self._named("# ", "")
        return file and file.removesuffix(".py").replace("/", ".")

    def _named(self, before: str, after: str) -> str | None:
        first = self.text.partition("\n")[0]
        found = re.fullmatch(rf"{before}([\w/]+\.py){after}", first)
        return found and found[1]


def blocks(*languages: str, pages: list[Path] = PAGES) -> list[Block]:
    """Those of these pages, of any language if none is named."""
    found = [block for page in pages for block in _blocks(page)]
    return [block for block in found if not languages or block.language in languages]


def words_in_code(page: Path) -> Iterator[tuple[int, str]]:
    """Each `span` of code and each line of a block that is no Python, with its line."""
    for token in _tokens(page):
        if token.type == "inline":
            for child in token.children or ():
                if child.type == "code_inline":
                    yield _line(token), child.content
    for block in _blocks(page):
        if block.language != "python":
            for number, line in enumerate(block.text.splitlines()):
                yield block.line + number, line


def links(page: Path) -> Iterator[str]:
    """What it links to, and the pictures that it shows."""
    for token in _tokens(page):
        for child in token.children or ():
            if target := child.attrs.get("href") or child.attrs.get("src"):
                yield str(target)


@cache
def _tokens(page: Path) -> list[Token]:
    return _PARSER.parse(page.read_text())


def _blocks(page: Path) -> Iterator[Block]:
    for token in _tokens(page):
        if token.type == "fence":
            yield Block(page, _line(token) + 1, token.info.split(" ")[0], token.content)


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1

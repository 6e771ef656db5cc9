"""What mkdocs calls (`hooks:` in mkdocs.yml): it adds the pages that nobody writes by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from reference.api import api_page
from reference.commands import commands_page
from reference.settings import settings_page

PAGES: dict[str, Callable[[], str]] = {
    "reference/api.md": api_page,
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take out of the navigation what is not written yet."""
    config.nav = _written(config.nav, Path(config.docs_dir))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def _written(nav: Any, docs: Path) -> Any:
    match nav:
        case list():
            kept = (_written(item, docs) for item in nav)
            return [item for item in kept if item]
        case dict():
            kept_by_title = {title: _written(item, docs) for title, item in nav.items()}
            return {title: item for title, item in kept_by_title.items() if item}
        case _:
            return nav if nav in PAGES or (docs / nav).exists() else None

"""What mkdocs calls (`hooks:` in mkdocs.yml): it adds the pages that nobody writes by hand."""

from collections.abc import Callable

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


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files

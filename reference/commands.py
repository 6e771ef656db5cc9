"""The page of the command line: what `--help` says of each command."""

from collections.abc import Iterator

import click

from service.cli import cli

INTRODUCTION = """\
# Commands

`paddock` reads its [settings](settings.md) from the environment and from `.env`. Its exit status is
0 when all is done, 1 when the job says no, and 2 when it is called or set up wrongly.
"""


def commands_page() -> str:
    """The page, as Markdown."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield INTRODUCTION
    group = click.Context(cli, info_name="paddock", terminal_width=100, max_content_width=100)
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=name, parent=group)
        yield f"## `paddock {name}`"
        yield ""
        yield "```text"
        yield command.get_help(context)
        yield "```"
        yield ""

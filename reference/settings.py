"""The page of the settings, from the fields that hold them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference.markdown import code, table
from service.settings import PREFIX, Settings

INTRODUCTION = """\
# Settings

From the environment, and from a `.env` file in the current folder for what that does not set.
`paddock check` prints what is in force and tries the connections.
"""


def settings_page() -> str:
    """The page, as Markdown."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield INTRODUCTION
    yield from table(
        ("variable", "default", "meaning"),
        (
            (code(f"{PREFIX}{name.upper()}"), _default(field), field.description or "")
            for name, field in Settings.model_fields.items()
        ),
    )


def _default(field: Any) -> str:
    value = field.get_default()  # undefined where it is counted, of which its meaning tells
    match value:
        case None | ():
            return ""
        case tuple():
            return code(",".join(value))
        case bool():
            return code(str(value).lower())
        case int() | float() | str() | Path():
            return code(value)
        case _:
            return ""

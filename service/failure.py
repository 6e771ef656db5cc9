"""Reading what went wrong out of the traceback text that RQ keeps."""

import re
from dataclasses import dataclass
from itertools import takewhile

_HEADER = "Traceback (most recent call last):"
_GROUP_HEADER = f"  + Exception Group {_HEADER}"
_GROUP_MARGIN = "  | "
_LINK = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n\n"
)
_ERROR = re.compile(r"^(?P<type>[A-Za-z_][\w.<>]*)(?::[ \n]?(?P<message>.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    type: str  #: the exception's name, with its module where that is not builtins
    message: str
    traceback: str  #: the whole text; no traceback proper where the process was lost


def read_failure(text: str) -> Failure:
    """Take apart what `traceback.format_exception` wrote, or a reason RQ or Paddock gives."""
    said = _said(_LINK.split(text)[-1])
    found = _ERROR.match(said)
    if found is None:
        return Failure("Failure", said, text)
    return Failure(found["type"], found["message"] or "", text)


def _said(section: str) -> str:
    """What stands behind the frames, which are indented: the exception, its message and notes.

    The message may itself hold indented lines, and the whole traceback of a child process.
    """
    lines = section.strip("\n").split("\n")
    if lines[0] == _GROUP_HEADER:
        own = takewhile(lambda line: line.startswith(_GROUP_MARGIN), lines[1:])
        lines = [line.removeprefix(_GROUP_MARGIN) for line in own]
    elif lines[0] == _HEADER:
        del lines[0]
    else:
        return section.strip()
    unindented = (number for number, line in enumerate(lines) if line and not line[0].isspace())
    return "\n".join(lines[next(unindented, 0) :]).strip()

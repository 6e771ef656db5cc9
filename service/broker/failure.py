"""Reading what went wrong out of the traceback text that RQ keeps."""

import re
from dataclasses import dataclass

_LAST_FRAME = re.compile(r'^  File ".*", line \d+.*$', re.MULTILINE)
_ERROR = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?::[ \n]?(?P<message>.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    type: str  #: the exception's name, with its module where that is not builtins
    message: str
    traceback: str  #: the whole text; no traceback proper where the process was lost


def read_failure(text: str) -> Failure:
    """Take apart what `traceback.format_exception` wrote, or a reason RQ or Paddock gives.

    The exception stands after the indented lines of the last frame. Its message may itself hold
    indented lines, so what is looked for is the last frame, not the last line.
    """
    frames = list(_LAST_FRAME.finditer(text))
    lines = text[frames[-1].end() :].splitlines() if frames else text.splitlines()
    unindented = (number for number, line in enumerate(lines) if line and not line[0].isspace())
    start = next(unindented, 0)
    said = "\n".join(lines[start:]).strip()
    found = _ERROR.match(said)
    if found is None:
        return Failure("Failure", said, text)
    return Failure(found["type"], found["message"] or "", text)

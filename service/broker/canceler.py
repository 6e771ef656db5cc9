"""Who cancels a job, in words: what its `canceled_by` says."""

import getpass
import os
import socket
from functools import cache


@cache
def this_program(kind: str = "a program") -> str:
    """The one that runs here: `a program (ada@web1)`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # one without a name, as containers have
        user = str(os.getuid())
    return f"{kind} ({user}@{socket.gethostname()})"


def the_api(caller: str) -> str:
    """Somebody over HTTP. Of the key (`visit.caller`, its SHA-256) it shows enough to tell keys."""
    return f"the API (key {caller[:8]})" if caller else "the API"

"""The pipes between a horse and its worker, beside the channel on which it is handed its job."""

import contextlib
import fcntl
import os

REPORTS, STDOUT, STDERR = "reports", "stdout", "stderr"

_LARGE = 1 << 20  # bytes; as much as Linux gives to everybody


class Pipes:
    """Some pipes by name, until each side has taken its ends."""

    def __init__(self, *names: str, large: bool = False) -> None:
        self._ends = {name: os.pipe() for name in names}
        if large and hasattr(fcntl, "F_SETPIPE_SZ"):
            for _, write in self._ends.values():
                with contextlib.suppress(OSError):  # this user has many: then it is a usual one
                    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _LARGE)

    def to_write(self) -> dict[str, int]:
        """In the horse: the ends to write to. The others are closed."""
        for read, _ in self._ends.values():
            os.close(read)
        return {name: write for name, (_, write) in self._ends.items()}

    def to_read(self) -> dict[str, int]:
        """In the worker: the ends to read from, without waiting. The others are closed."""
        for read, write in self._ends.values():
            os.close(write)
            os.set_blocking(read, False)
        return {name: read for name, (read, _) in self._ends.items()}

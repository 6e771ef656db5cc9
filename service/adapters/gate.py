"""What an executor's submissions go through, until it is shut down."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.adapters.door import interpreter_ends


class Gate:
    """Lets submissions pass until it is shut, and knows how many are on their way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._passing = 0
        self._is_shut = False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Raises `RuntimeError` where nothing may pass any more."""
        with self._changed:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if interpreter_ends():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            self._passing += 1
        try:
            yield
        finally:
            with self._changed:
                self._passing -= 1
                self._changed.notify_all()

    def shut(self) -> None:
        """Let nothing more in."""
        with self._changed:
            self._is_shut = True

    def await_empty(self) -> None:
        """Return once nothing is on its way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._passing)

    def stand_forked(self) -> None:
        """In a process that was forked: the threads that were passing are the parent's."""
        self._changed, self._passing = threading.Condition(), 0

"""The tasks that may be submitted, and no others."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs.declaration import Task, declared
from jobs.errors import DeclarationError, UnknownTask


class Catalogue:
    """Task name → task. Reads like a mapping; `load` is how one is made.

    Those of `unlisted` are run where a job names them, but can't be submitted.
    """

    def __init__(
        self, tasks: Iterable[Task[..., Any]], unlisted: Iterable[Task[..., Any]] = ()
    ) -> None:
        self._by_name: dict[str, Task[..., Any]] = {}
        for task in tasks:
            first = self._by_name.setdefault(task.name, task)
            if first.source != task.source:
                raise DeclarationError(
                    f"{task.source}: a task named {task.name!r} exists already, at "
                    f"{first.source}. Rename one, or give it @job(name=…)"
                )
        # The bare function's path too: that is what `Queue.enqueue(function)` elsewhere writes.
        self._by_path = {task.path: task for task in self}
        self._by_path |= {task.path.removesuffix(".run"): task for task in self}
        self._by_path |= {task.path: task for task in unlisted}

    @classmethod
    def load(cls, modules: Iterable[str]) -> "Catalogue":
        """Import these modules, and each package's modules, and collect the tasks they declare.

        Raises `DeclarationError` on a module that can't be found or a task that can't be declared.
        """
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)  # last: the user's folder must not hide installed packages
        loaded = set[str]()
        for name in modules:
            loaded.update(_import_all(name))
        return cls(task for task in declared if task.module in loaded)

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Task[..., Any]:
        """Raises `UnknownTask`, which names the tasks there are."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownTask(name, sorted(self._by_name)) from None

    def named(self, name: str) -> Task[..., Any] | None:
        """The task of this name, if there is one."""
        return self._by_name.get(name)

    def at(self, path: str | None) -> Task[..., Any] | None:
        """The task that a job with this dotted function path runs, if it is one of ours."""
        return self._by_path.get(path or "")

    def queues(self) -> list[str]:
        """The queues that tasks are declared for."""
        return list(dict.fromkeys(task.policy.queue for task in self))


def _import_all(name: str) -> Iterator[str]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found; something that it imports was not
        raise DeclarationError(
            f"PADDOCK_TASKS names {name!r}, but there is no such module. It is looked for in the "
            f"current folder ({Path.cwd()}) and in what is installed"
        ) from error
    yield name
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        importlib.import_module(found.name)
        yield found.name

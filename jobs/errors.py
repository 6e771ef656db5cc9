"""What can be wrong with a task, told to its author."""


class TaskError(Exception):
    """Root of the errors about tasks."""


class DeclarationError(TaskError):
    """A task can't be declared like this. The message begins with its file and line."""


class UnknownTask(TaskError):
    """No such task in the catalogue."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        super().__init__(f"There is no task {name!r}. The catalogue has: {', '.join(known)}.")


class ServiceMissing(TaskError):
    """Nothing is installed that could make a job of a task's call."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Tasks can't be called later here: no installed package has an entry point {name!r} "
            "in the group 'paddock.calling'. Install Paddock in this environment (in a checkout of "
            "it: pip install --editable .), rather than have its folder on the path only."
        )

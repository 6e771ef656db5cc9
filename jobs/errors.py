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

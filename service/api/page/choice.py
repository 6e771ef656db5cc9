"""Which jobs a page is to list, as its address says."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

from fastapi import Depends, Request

from service.broker.listing import JobFilter
from service.broker.status import Status


@dataclass(frozen=True, slots=True)
class Choice:
    """What is None does not matter, as does what the address says that can't be read."""

    statuses: ClassVar[list[Status]] = list(Status)

    status: Status | None = None
    task: str | None = None
    queue: str | None = None
    id: str | None = None  #: a part of it
    cursor: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether it leaves any job out."""
        return bool(self.status or self.task or self.queue or self.id)

    def query(self, **other: Any) -> str:
        """This choice for an address, with these changed; a new choice begins with the newest."""
        wanted = asdict(self) | {"cursor": None} | other
        given = {name: value for name, value in wanted.items() if value}
        return f"?{urlencode(given)}" if given else ""

    def filter(self) -> JobFilter:
        """The same for the broker."""
        return JobFilter(status=self.status, task=self.task, queue=self.queue, part_of_id=self.id)


async def _choice(request: Request) -> Choice:
    asked = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
    status = Status(asked["status"]) if asked.get("status") in set(Status) else None
    return Choice(
        status, asked.get("task"), asked.get("queue"), asked.get("id"), asked.get("cursor")
    )


ChoiceDep = Annotated[Choice, Depends(_choice)]

"""Tasks whose models bear names that others bear as well."""

from pydantic import BaseModel

from jobs import job


class Address(BaseModel):
    city: str


class JobView(BaseModel):
    window: str = ""


@job
def deliver(address: Address, view: JobView = JobView()) -> Address:  # noqa: B008
    """Bring something somewhere."""
    return address

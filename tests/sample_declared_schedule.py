"""A task that declares its own schedule."""

from rq import get_current_job

from jobs import job


@job(cron="* * * * * *", timezone="Europe/Berlin", cron_parameters={"note": "x"})
def tell_tick(note: str) -> str:
    """The tick that it was enqueued for."""
    current = get_current_job()
    assert current is not None and note == "x"
    return str(current.meta["tick"])

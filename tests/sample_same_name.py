"""A task of another catalogue's, which bears the same name there and takes something else."""

from jobs import job


@job
def echo(times: int) -> int:
    """Return what it is given."""
    return times

"""How the command line writes a job."""

from service.broker.status import Status
from service.cli.output import job_as_line, job_as_text
from service.failure import Failure
from tests.records import a_job


def test_what_a_job_says_of_itself_does_nothing_to_a_terminal() -> None:
    error = Failure("ValueError", "\x1b[31mred\x1b]0;title\x07\nand \x9b2J\x1b[Hmore", "")
    job = a_job(status=Status.FAILED, error=error, task="\x1b[7mt", canceled_by="\x1b[1mada")
    assert job_as_text(job).splitlines() == [
        "j  t  failed",
        "  parameters  {}",
        "  queue       default",
        "  canceled by ada",
        "  error       ValueError: red",
        "and 2Jmore",
    ]
    assert job_as_line(job).endswith("  t")

"""Giving a job the result of the one that it depends on."""

import json
from base64 import b64decode

from rq.job import Job
from rq.utils import as_text

from service.execution.claim import Claim


def give_result(job: Job, claimed: Claim) -> None:
    """Add it to the job's parameters, where it asks for one. Its task validates it with the rest.

    Raises `ValueError` on a result that is no JSON: another program's.
    """
    name = claimed.fields.get(b"result_as")
    if name is not None and claimed.given:
        job.kwargs = {**job.kwargs, as_text(name): json.loads(b64decode(claimed.given))}

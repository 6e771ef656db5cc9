"""What handlers are given: the broker, the settings, a job id that can be one."""

import re
from typing import Annotated

from fastapi import Depends, Path, Request

from service.api.visit import visit_of
from service.broker.broker import Broker
from service.broker.canceler import the_api
from service.broker.records import JOB_ID
from service.errors import BatchNotFound, JobNotFound
from service.settings import Settings

_BATCH_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def broker_of(request: Request) -> Broker:
    """That of the service whose route this is."""
    return visit_of(request.scope).broker


def settings_of(request: Request) -> Settings:
    """Those of the service whose route this is."""
    return visit_of(request.scope).settings


def caller_of(request: Request) -> str:
    """Who sent it, in words."""
    return the_api(visit_of(request.scope).caller)


# FastAPI runs a plain function in a thread, which takes longer than these do.
async def _broker(request: Request) -> Broker:
    return broker_of(request)


async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _job_id(job_id: Annotated[str, Path(description="The job's id.")]) -> str:
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    return job_id


def _batch_id(batch_id: Annotated[str, Path(description="The batch's id.")]) -> str:
    if not _BATCH_ID.fullmatch(batch_id):
        raise BatchNotFound(batch_id)
    return batch_id


BrokerDep = Annotated[Broker, Depends(_broker)]
SettingsDep = Annotated[Settings, Depends(_settings)]
JobId = Annotated[str, Depends(_job_id)]
BatchId = Annotated[str, Depends(_batch_id)]

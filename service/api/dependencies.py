"""What handlers are given: the broker, the settings, a job id that can be one."""

import re
from typing import Annotated

from fastapi import Depends, Path, Request

from service.broker.broker import Broker
from service.errors import JobNotFound
from service.settings import Settings

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")  # what RQ allows; anything else names no job


def broker_of(request: Request) -> Broker:
    """The application's one."""
    broker: Broker = request.app.state.broker
    return broker


def settings_of(request: Request) -> Settings:
    """The application's one."""
    settings: Settings = request.app.state.settings
    return settings


# FastAPI runs a plain function in a thread, which takes longer than these do.
async def _broker(request: Request) -> Broker:
    return broker_of(request)


async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _job_id(job_id: Annotated[str, Path(description="The job's id.")]) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    return job_id


BrokerDep = Annotated[Broker, Depends(_broker)]
SettingsDep = Annotated[Settings, Depends(_settings)]
JobId = Annotated[str, Depends(_job_id)]

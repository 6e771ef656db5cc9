"""What handlers are given: the broker, the settings, a job id that can be one."""

import re
from typing import Annotated

from fastapi import Depends, Path, Request

from service.broker.broker import Broker
from service.errors import JobNotFound
from service.settings import Settings

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")  # what RQ allows; anything else names no job


async def _broker(request: Request) -> Broker:
    broker: Broker = request.app.state.broker
    return broker


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _job_id(job_id: Annotated[str, Path(description="The job's id.")]) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    return job_id


BrokerDep = Annotated[Broker, Depends(_broker)]
SettingsDep = Annotated[Settings, Depends(_settings)]
JobId = Annotated[str, Depends(_job_id)]

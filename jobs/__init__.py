"""The words a job's author needs: `from jobs import job, Retry, track`.

Every other module of this package is either part of that vocabulary (policy, parameters,
declaration, calling, catalogue, reporting) or a task of its own, to run and to copy.
"""

from jobs.declaration import Task, job
from jobs.policy import Exponential, PermanentFailure, Retry
from jobs.reporting import logger, progress, track

__all__ = ["Exponential", "PermanentFailure", "Retry", "Task", "job", "logger", "progress", "track"]

"""The words a job's author needs: `from jobs import job, Retry`.

Every other module of this package is either part of that vocabulary (policy, parameters,
declaration, calling, catalogue) or a task of its own, to run and to copy.
"""

from jobs.declaration import Task, job
from jobs.policy import Exponential, PermanentFailure, Retry

__all__ = ["Exponential", "PermanentFailure", "Retry", "Task", "job"]

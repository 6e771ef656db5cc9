"""Telling Redis of a worker's executions: what they have reported, and how they ended."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import RedisError

from service.execution.assignment import about
from service.execution.decision import Ended
from service.execution.reporting.reported import Reported
from service.execution.reporting.writer import ReportWriter
from service.execution.scripts import ScriptCall
from service.execution.settlement import Settler

logger = logging.getLogger("rq.worker")


class Recorder:
    """What is sent of them together, and what the answers mean."""

    def __init__(self, settler: Settler, reports: ReportWriter) -> None:
        self._settler, self._reports = settler, reports
        self._reporting: list[tuple[Reported, int]] = []  # and the number of calls that are its own
        self._ended: Sequence[Ended] = ()
        self.refused: RedisError | None = None  #: what it answered last instead of recording an end

    def calls(self, endings: Sequence[Ended], due: Iterable[Reported] = ()) -> list[ScriptCall]:
        """What to send of these. `answered` reads the answers.

        An end comes after what was reported until then: an execution that has ended tells no more.
        """
        self._reporting, self._ended, calls = [], endings, []
        for reported in due:
            calls += self._calls_of(reported, everything=False)
        for ended in endings:
            if ended.reported is not None:
                calls += self._calls_of(ended.reported, everything=True)
        return calls + [self._settler.call(ended) for ended in endings]

    def answered(self, answers: Sequence[Any]) -> list[Ended]:
        """Those whose ends are on record, or not this worker's to record any more.

        `refused` says why others are not.
        """
        self.refused, start = None, 0
        for reported, count in self._reporting:
            if refused := self._reports.answered(reported, answers[start : start + count]):
                logger.warning("No reports of job %s: %s", reported.job_id, refused)
            start += count
        told = zip(self._ended, answers[start:], strict=True)
        return [ended for ended, answer in told if self._is_recorded(ended, answer)]

    def _calls_of(self, reported: Reported, *, everything: bool) -> list[ScriptCall]:
        calls = self._reports.calls(reported, everything=everything)
        if calls:
            self._reporting.append((reported, len(calls)))
        return calls

    def _is_recorded(self, ended: Ended, answer: Any) -> bool:
        if isinstance(answer, RedisError):
            self.refused = self.refused or answer
            return False
        if not self._settler.settled(ended, answer):
            told = "Job %s had been given to another worker"
            logger.warning(told, ended.job.id, extra=about(ended.job))
        return True

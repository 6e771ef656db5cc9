"""Taking several jobs at once, in one round trip."""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.queue import Queue

from service.execution.claim import Claim, Claimer, Suspended
from service.execution.scripts import ScriptCall

MOST_AT_ONCE = 64  # jobs claimed in one round trip


class Claims:
    """Claims for one worker: one at first, twice as many each time that all were answered."""

    def __init__(self, connection: Redis, worker_name: str, lease: int) -> None:
        self._claimers = [Claimer(connection, worker_name, lease) for _ in range(MOST_AT_ONCE)]
        self._sent: list[Claimer] = []
        self._pace = 1
        self.is_suspended = False  #: whether the last answer was that `rq suspend` is in force
        self.found_less = False  #: whether it left a claim without a job: the queues are empty

    def calls(self, queues: Sequence[Queue], room: int) -> list[ScriptCall]:
        """What to ask of Redis for so many jobs at most; `answered` reads the answers.

        Claims whose replies were lost come first: they may have taken jobs, so that there may be
        more of them than there is room for.
        """
        again = [claimer for claimer in self._claimers if claimer.is_unanswered]
        fresh = [claimer for claimer in self._claimers if not claimer.is_unanswered]
        count = min(room, self._pace) - len(again)
        self._sent = again + fresh[: max(count, 0)]
        return [claimer.call(queues) for claimer in self._sent]

    def answered(self, queues: Sequence[Queue], answers: Sequence[Any]) -> list[Claim]:
        """The jobs that were taken. A claim that Redis refused is sent again with the next ones."""
        taken = []
        self.is_suspended = False
        for claimer, answer in zip(self._sent, answers, strict=True):
            if isinstance(answer, RedisError):
                continue
            try:
                if claim := claimer.answered(queues, answer):
                    taken.append(claim)
            except Suspended:
                self.is_suspended = True
        left_some = any(claimer.left_some for claimer in self._sent)
        self.found_less = len(taken) < len(self._sent) and not left_some
        self._pace = 1 if self.found_less else min(2 * self._pace, MOST_AT_ONCE)
        return taken

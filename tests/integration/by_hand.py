"""A worker's part done step by step in the test's own process, without housekeeping beside it."""

from rq import Queue
from rq.executions import Execution

from service.execution.claim import Claim, Claimer
from service.execution.decision import Ended
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.settlement import Settler


class ByHand:
    """Claims jobs and settles them."""

    def __init__(self, connection: object, *queues: str) -> None:
        self.connection = connection
        self.queues = [Queue(name, connection=connection, serializer="json") for name in queues]
        self.claimer = Claimer(connection, "by-hand", lease=60)
        self.settler = Settler(connection, "by-hand", "here")

    def claim(self) -> Claim | None:
        return self.claimer.claim(self.queues)

    def ended(self, claim: Claim, body: bytes, kind: Kind, may_retry: bool = False) -> Ended:
        job = claim.job(self.connection)
        execution = Execution(claim.execution_id, job.id, self.connection, "by-hand")
        outcome = Outcome(kind, Usage(0.0, 0.0, 0), kind.value, body, may_retry)
        return Ended(claim.queue, job, execution, outcome)

    def settle(self, claim: Claim, body: bytes = b"1", kind: Kind = Kind.RETURNED) -> bool:
        ended = self.ended(claim, body, kind)
        return self.settler.settled(ended, self.settler.call(ended).run())

    def run_one(self, body: bytes = b"1", kind: Kind = Kind.RETURNED) -> str | None:
        """The id of the job that was run."""
        claim = self.claim()
        if claim is None:
            return None
        assert self.settle(claim, body, kind)
        return claim.job_id

    def fail_one(self) -> str | None:
        return self.run_one(b"builtins.ValueError: as told", Kind.RAISED)

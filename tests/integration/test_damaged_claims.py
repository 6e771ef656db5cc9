"""What a claim must not do: lose a job over a damaged record, or take one that nobody hears of."""

import redis
from rq.utils import as_text

from service.broker.status import Status
from tests.integration.by_hand import ByHand
from tests.integration.conftest import Jobs


def test_a_job_whose_record_is_damaged_fails_and_the_next_is_taken(
    jobs: Jobs, connection: redis.Redis
) -> None:
    first = jobs.submit("double", n=1)
    hand = ByHand(connection, "default")
    assert hand.run_one(b"2") == first
    damaged = jobs.submit("double", depends_on=(first,), result_as="n")
    healthy = jobs.submit("echo", value=1)
    connection.delete(f"rq:results:{first}")
    connection.set(f"rq:results:{first}", "no stream")
    assert hand.run_one() == healthy
    job = jobs[damaged]
    assert job.status is Status.FAILED and job.error is not None
    assert job.error.type == "Unreadable"


def test_a_claim_that_arrives_after_it_was_sent_again_takes_nothing(
    jobs: Jobs, connection: redis.Redis
) -> None:
    ids = [jobs.submit("echo", value=value) for value in (1, 2)]
    hand = ByHand(connection, "default")
    held_up = hand.claimer.call(hand.queues)  # its reply is lost: it was not even delivered
    sent_again = hand.claimer.call(hand.queues)
    claim = hand.claimer.answered(hand.queues, sent_again.run())
    assert claim is not None and claim.job_id == ids[0]
    assert held_up.run() is None
    assert [as_text(each) for each in connection.lrange("rq:queue:default", 0, -1)] == [ids[1]]


def test_a_claim_that_was_delivered_and_is_sent_again_takes_the_same_job(
    jobs: Jobs, connection: redis.Redis
) -> None:
    job_id, _ = (jobs.submit("echo", value=value) for value in (1, 2))
    hand = ByHand(connection, "default")
    hand.claimer.call(hand.queues).run()
    for _again in range(2):
        claim = hand.claimer.call(hand.queues).run()
        assert as_text(claim[1]) == job_id

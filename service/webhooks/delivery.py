"""The task that tells a receiver how a job ended.

It is in every worker's catalogue and in no API's: a caller who could submit it would have Paddock
sign what he likes.
"""

import time
from importlib.metadata import version

from jobs import PermanentFailure, Retry, job
from service.settings import Settings
from service.webhooks.addresses import Allowed
from service.webhooks.signature import signed_headers
from service.webhooks.target import TargetRefused, addresses_of, parse_target
from service.webhooks.transport import Unanswered, post

QUEUE = "webhooks"  # where a worker serves it; else the queue of the job that ended
TIMEOUT = 15  # seconds that a delivery may take, from its connection to its answer
SECONDS, MINUTES, HOURS, DAYS = 1, 60, 3600, 24 * 3600
# What Standard Webhooks recommends: ten attempts within some three days
WAITS = [
    5 * SECONDS,
    5 * MINUTES,
    30 * MINUTES,
    2 * HOURS,
    5 * HOURS,
    10 * HOURS,
    14 * HOURS,
    20 * HOURS,
    24 * HOURS,
]


class Undelivered(Exception):
    """The receiver did not take it; it is tried again later."""


class ReceiverGone(PermanentFailure):
    """The receiver answered 410: it wants no more of it."""


@job(
    queue=QUEUE,
    timeout=2 * TIMEOUT,
    retry=Retry(max=len(WAITS), interval=WAITS, never=TargetRefused),
    failure_ttl=30 * DAYS,
    isolation="shared",
)
def deliver_webhook(id: str, url: str, event: str) -> int:
    """Sign an event, which is JSON text, and send it; the result is the status of the answer."""
    settings = Settings.load()
    secrets = [secret.get_secret_value() for secret in settings.webhook_secret]
    if not secrets:
        raise Undelivered("PADDOCK_WEBHOOK_SECRET is not set on this worker's host")
    allowed = Allowed.parse(settings.webhook_allow)
    target, body = parse_target(url, allowed), event.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Paddock/{version('paddock')}",
        **signed_headers(secrets, id, int(time.time()), body),
    }
    try:
        status = post(target, addresses_of(target, allowed), headers, body, TIMEOUT)
    except (Unanswered, OSError) as error:
        raise Undelivered(f"{target.host} did not answer: {error}") from error
    if status == 410:
        raise ReceiverGone(f"{target.host} answered 410: it wants no more of this")
    if not 200 <= status < 300:
        raise Undelivered(f"{target.host} answered {status}")
    return status

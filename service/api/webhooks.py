"""The `webhook` option of a submission: refused where it can be seen to lead nowhere good."""

from service.errors import OptionsInvalid, WebhooksOff
from service.settings import Settings
from service.webhooks.addresses import Allowed
from service.webhooks.target import TargetRefused, parse_target


def accepted_webhook(url: str | None, settings: Settings) -> str | None:
    """The URL, once looked at; where its name resolves to is looked at when it is told.

    Raises `OptionsInvalid`, `WebhooksOff`.
    """
    if url is None:
        return None
    if not settings.webhook_secret:
        raise WebhooksOff
    try:
        parse_target(url, Allowed.parse(settings.webhook_allow))
    except TargetRefused as error:
        row = {"in": "query", "field": "webhook", "message": str(error)}
        raise OptionsInvalid(f"webhook: {error}.", errors=[row]) from error
    return url

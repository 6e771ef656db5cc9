"""Signatures that others than us find right."""

import time
from base64 import b64encode

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from service.errors import SettingsInvalid
from service.settings import Settings
from service.webhooks.signature import key_of, signed_headers

SECRET, OTHER = (f"whsec_{b64encode(bytes([number] * 32)).decode()}" for number in (1, 2))
BODY = '{"type":"job.finished","data":{"result":"grün"}}'.encode()


def test_the_published_example_is_met() -> None:
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("receivers", [SECRET, OTHER])
def test_receivers_of_either_secret_verify_it_while_one_replaces_the_other(receivers: str) -> None:
    headers = signed_headers([OTHER, SECRET], "id", int(time.time()), BODY)
    assert Webhook(receivers).verify(BODY, headers)["type"] == "job.finished"


def test_what_was_changed_on_the_way_is_noticed() -> None:
    headers = signed_headers([SECRET], "id", int(time.time()), BODY)
    for changed, body in (
        (headers, BODY + b" "),
        (headers | {"webhook-id": "other"}, BODY),
        (headers | {"webhook-timestamp": str(int(time.time()) - 60)}, BODY),
    ):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(SECRET).verify(body, changed)


@pytest.mark.parametrize(
    "secret",
    ["hush", "whsec_", "whsec_*", "whsec_aHVzaA==", SECRET.removeprefix("whsec_"), SECRET[:-2]],
)
def test_a_weak_or_garbled_secret_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes in base64"):
        key_of(secret)
    monkeypatch.setenv("PADDOCK_WEBHOOK_SECRET", f"{SECRET} {secret}")
    with pytest.raises(SettingsInvalid, match="PADDOCK_WEBHOOK_SECRET: a secret is") as told:
        Settings.load()
    assert SECRET[6:20] not in str(told.value)


@pytest.mark.parametrize("between", [" ", ",", ", "])
def test_secrets_are_listed_and_handed_to_child_processes_but_never_printed(
    monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    monkeypatch.setenv("PADDOCK_WEBHOOK_SECRET", f"{SECRET}{between}{OTHER}")
    settings = Settings.load()
    assert [secret.get_secret_value() for secret in settings.webhook_secret] == [SECRET, OTHER]
    assert settings.environment()["PADDOCK_WEBHOOK_SECRET"] == f"{SECRET},{OTHER}"
    assert SECRET not in repr(settings) and SECRET not in str(settings.model_dump(mode="json"))

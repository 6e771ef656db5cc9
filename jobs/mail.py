"""Where mail goes: a server named by PADDOCK_SMTP_URL, or .eml files in an outbox folder."""

import os
import tempfile
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field

SENDER = "paddock@localhost"
SMTP_TIMEOUT = 30  # seconds a mail server may stay silent

# A header is one line (RFC 5322 §2.2); a line break in it would smuggle in further headers.
Subject = Annotated[str, Field(max_length=900, pattern=r"^[^\r\n]*$", examples=["Welcome"])]


@dataclass(frozen=True, slots=True)
class MailServer:
    """`smtp://user:password@host:587/?starttls=1`, or `smtps://` for TLS from the first byte."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool
    starttls: bool
    sender: str

    @classmethod
    def configured(cls) -> "MailServer | None":
        """The server that PADDOCK_SMTP_URL names; None where it is not set.

        Raises `ValueError` on a URL of another form.
        """
        url = os.environ.get("PADDOCK_SMTP_URL")
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("PADDOCK_SMTP_URL must look like smtp://user:password@host:587")
        query = parse_qs(parts.query)
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if parts.scheme == "smtps" else 25),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "smtps",
            starttls=query.get("starttls", ["0"])[0] in ("1", "true", "yes"),
            sender=query.get("from", [SENDER])[0],
        )


def compose(sender: str, to: str, subject: str, message: str) -> EmailMessage:
    """A plain-text mail, ready to send."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="paddock.local")
    mail.set_content(message)
    return mail


def file_in_outbox(mail: EmailMessage) -> Path:
    """Write the mail as an .eml file, all or nothing, readable by this user only."""
    outbox = Path(os.environ.get("PADDOCK_DATA_DIR", "data")) / "outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=outbox, suffix=".part", delete=False) as part:
        part.write(mail.as_bytes())
    return Path(part.name).rename(Path(part.name).with_suffix(".eml"))

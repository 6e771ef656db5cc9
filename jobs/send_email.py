"""A task that talks to the outside world, and is worth retrying when that fails."""

import smtplib
from contextlib import ExitStack
from email.message import EmailMessage

from pydantic import EmailStr

from jobs import Exponential, Retry, job
from jobs.mail import SENDER, SMTP_TIMEOUT, MailServer, Subject, compose, file_in_outbox


@job(
    queue="mail",
    timeout=120,
    retry=Retry(max=5, interval=Exponential(first=10), never=smtplib.SMTPRecipientsRefused),
)
def send_email(to: EmailStr, subject: Subject, message: str) -> str:
    """Send a mail; the result is its Message-ID. Without PADDOCK_SMTP_URL it is filed as .eml."""
    server = MailServer.configured()
    mail = compose(server.sender if server else SENDER, to, subject, message)
    if server is None:
        file_in_outbox(mail)
    else:
        _deliver(server, mail)
    return str(mail["Message-ID"])


def _deliver(server: MailServer, mail: EmailMessage) -> None:
    connect = smtplib.SMTP_SSL if server.tls else smtplib.SMTP
    with ExitStack() as stack:
        smtp = stack.enter_context(connect(server.host, server.port, timeout=SMTP_TIMEOUT))
        if server.starttls:
            smtp.starttls()
        if server.user is not None:
            smtp.login(server.user, server.password or "")
        smtp.send_message(mail)

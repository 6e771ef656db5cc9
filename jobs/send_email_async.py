"""The same mail from an `async def` task: it runs in an event loop of its own."""

import aiosmtplib
from pydantic import EmailStr

from jobs import Exponential, Retry, job
from jobs.mail import SENDER, SMTP_TIMEOUT, MailServer, Subject, compose, file_in_outbox


@job(
    queue="mail",
    timeout=120,
    retry=Retry(max=5, interval=Exponential(first=10), never=aiosmtplib.SMTPRecipientsRefused),
)
async def send_email_async(to: EmailStr, subject: Subject, message: str) -> str:
    """Send a mail; the result is its Message-ID. Without PADDOCK_SMTP_URL it is filed as .eml."""
    server = MailServer.configured()
    mail = compose(server.sender if server else SENDER, to, subject, message)
    if server is None:
        file_in_outbox(mail)
    else:
        await aiosmtplib.send(
            mail,
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            timeout=SMTP_TIMEOUT,
        )
    return str(mail["Message-ID"])

"""The sinks that alerts are told to: a Slack-compatible webhook and e-mail. Texts of messages are pure.

A message holds no member's name. The webhook's address and the password are secrets: they leave this
module only towards whom they are for, no error repeats them, and nothing here writes a log. When a
message is sent, and what it is about, is decided in `flows/alerts.py`.
"""

from __future__ import annotations

import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from almanac_pipeline.errors import ConfigurationError, DeliveryError
from almanac_pipeline.settings import Settings

TIMEOUT_SECONDS = 10.0
LINES_SHOWN = 20

SinkName = Literal["webhook", "email"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: a line, and more lines below it."""

    subject: str
    lines: tuple[str, ...] = ()


class Sink(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> SinkName: ...

    def send(self, message: Message) -> None:
        """Tell them.

        Raises:
            DeliveryError: they could not be told; the message names neither address nor secret.
        """
        ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """A Slack-compatible incoming webhook: JSON with a `text`. Its URL is the key to it."""

    url: SecretStr
    name: SinkName = "webhook"

    def send(self, message: Message) -> None:
        request = urllib.request.Request(
            self.url.get_secret_value(),
            data=json.dumps({"text": slack_text(message)}).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "cohort-almanac"},
        )
        # urllib and not requests, whose connections write the path of each request into the debug log.
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS):
                return
        except urllib.error.HTTPError as error:
            with closing(error):
                reason = f"it answered {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = _kind_of(error)
        raise DeliveryError(f"The webhook could not be told: {reason}.")


@dataclass(frozen=True, slots=True)
class Email:
    """A server that takes mail for some addresses."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    user: str | None
    password: SecretStr | None
    sender: str
    recipients: tuple[str, ...]
    name: SinkName = "email"

    def send(self, message: Message) -> None:
        try:
            mail = self._mail(message)
            with self._connection() as connection:
                if self.security == "starttls":
                    connection.starttls(context=ssl.create_default_context())
                if self.user is not None:
                    connection.login(self.user, self.password.get_secret_value() if self.password else "")
                connection.send_message(mail)
                return
        except smtplib.SMTPResponseException as error:
            # Its words may repeat addresses.
            reason = f"the mail server answered {error.smtp_code} ({type(error).__name__})"
        except (OSError, smtplib.SMTPException, ValueError) as error:
            reason = _kind_of(error)
        raise DeliveryError(f"E-mail could not be sent: {reason}.")

    def _connection(self) -> smtplib.SMTP:
        if self.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, ", ".join(self.recipients), message.subject
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="cohort-almanac.invalid")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n\n".join(message.lines) or message.subject)
        return mail


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it would hand what we tell to somebody else."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def sinks(settings: Settings) -> list[Sink]:
    """Those that are set up; none is all right.

    Raises:
        ConfigurationError: mail is set up in part; the message names what is missing.
    """
    found: list[Sink] = []
    if settings.alert_webhook is not None:
        found.append(Webhook(settings.alert_webhook))
    parts = {
        "ALMANAC_ALERT_EMAIL_TO": settings.alert_email_to,
        "ALMANAC_ALERT_EMAIL_FROM": settings.alert_email_from,
        "ALMANAC_SMTP_HOST": settings.smtp_host,
    }
    if any(parts.values()):
        if missing := [name for name, value in parts.items() if not value]:
            raise ConfigurationError(f"Alerts by e-mail need {' and '.join(missing)}, too.")
        recipients = tuple(part.strip() for part in str(settings.alert_email_to).split(",") if part.strip())
        found.append(
            Email(
                host=str(settings.smtp_host),
                port=settings.smtp_port,
                security=settings.smtp_security,
                user=settings.smtp_user,
                password=settings.smtp_password,
                sender=str(settings.alert_email_from),
                recipients=recipients,
            )
        )
    return found


def shortened(lines: Sequence[str]) -> tuple[str, ...]:
    """At most twenty lines, and how many more there are."""
    if len(lines) <= LINES_SHOWN:
        return tuple(lines)
    return (*lines[:LINES_SHOWN], f"and {len(lines) - LINES_SHOWN:,} more: `almanac alerts`")


def slack_text(message: Message) -> str:
    """The message in Slack's markup, in which three characters have a meaning. Pure."""
    text = "\n".join([f"*{message.subject}*", *(f"• {line}" for line in message.lines)])
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _kind_of(error: Exception) -> str:
    """What went wrong without the error's own words, which may repeat the address."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return type(cause).__name__

"""Sinks: what arrives, what a failure says, and that neither address nor password shows anywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from almanac_pipeline.errors import ConfigurationError, DeliveryError
from almanac_pipeline.messages import Email, Message, Webhook, shortened, sinks, slack_text
from almanac_pipeline.settings import Settings
from tests.sinks import MailServer, Slack, mail_server, slack

MESSAGE = Message("One alert", ("critical: a & b <c>", "warning: d"))


@pytest.fixture
def webhook() -> Iterator[Slack]:
    with slack() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def email_to(server: MailServer, *recipients: str, security: Any = "none", **options: Any) -> Email:
    return Email(
        host="127.0.0.1",
        port=server.port,
        security=security,
        user=options.get("user"),
        password=SecretStr("s3cret"),
        sender="almanac@example.org",
        recipients=recipients,
    )


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


# -- the webhook ---------------------------------------------------------------------------------


def test_a_webhook_gets_one_post_in_slacks_markup(webhook: Slack) -> None:
    Webhook(SecretStr(webhook.url)).send(MESSAGE)
    assert webhook.paths == ["/services/s3cret"]
    assert webhook.texts() == ["*One alert*\n• critical: a &amp; b &lt;c&gt;\n• warning: d"]


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_a_webhook_that_refuses_is_named_by_its_answer_only(webhook: Slack, status: int) -> None:
    webhook.status = status
    with pytest.raises(DeliveryError) as failed:
        Webhook(SecretStr(webhook.url)).send(MESSAGE)
    assert str(failed.value) == f"The webhook could not be told: it answered {status}."


def test_a_webhook_that_sends_us_elsewhere_is_not_followed(webhook: Slack) -> None:
    webhook.status, webhook.location = 302, webhook.url + "/elsewhere"
    with pytest.raises(DeliveryError, match="it answered 302"):
        Webhook(SecretStr(webhook.url)).send(MESSAGE)
    assert len(webhook.paths) == 1


def test_nothing_of_the_webhooks_address_shows_when_it_cannot_be_reached(
    webhook: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sink = Webhook(SecretStr(webhook.url))
    sink.send(MESSAGE)
    dead = Webhook(SecretStr("http://127.0.0.1:1/services/s3cret"))
    unusable = Webhook(SecretStr("http://127.0.0.1:1/services/s3cret with a space"))
    for broken in (dead, unusable):
        with pytest.raises(DeliveryError) as failed:
            broken.send(MESSAGE)
        # Also not in what a traceback would print of it.
        assert failed.value.__cause__ is None
        assert failed.value.__context__ is None
        assert "s3cret" not in str(failed.value)
        assert "127.0.0.1" not in str(failed.value)
    assert "s3cret" not in caplog.text + repr(sink) + str(sink)


# -- e-mail --------------------------------------------------------------------------------------


def test_mail_reaches_every_address_with_a_subject_and_all_lines(mail: MailServer) -> None:
    email_to(mail, "one@example.org", "two@example.org").send(MESSAGE)
    [received] = mail.mails
    assert mail.recipients == ["one@example.org", "two@example.org"]
    assert (received["Subject"], received["Auto-Submitted"]) == ("One alert", "auto-generated")
    assert [line for line in str(received.get_payload()).split("\r\n") if line] == list(MESSAGE.lines)


def test_a_refusing_mail_server_is_named_without_address_or_password(mail: MailServer) -> None:
    mail.refused = {"one@example.org"}
    for sink in (
        email_to(mail, "one@example.org"),
        email_to(mail, "two@example.org", security="starttls"),  # which the server does not know
        email_to(mail, "two@example.org", user="me"),  # nor a way to log in
    ):
        with pytest.raises(DeliveryError, match=r"^E-mail could not be sent: \w+\.$") as failed:
            sink.send(MESSAGE)
        assert failed.value.__context__ is None
        assert "s3cret" not in repr(sink)
    assert mail.mails == []


# -- which there are -----------------------------------------------------------------------------


def test_without_settings_nobody_is_told(clean_settings: None) -> None:
    assert sinks(settings()) == []


def test_both_sinks_come_from_the_settings(clean_settings: None) -> None:
    found = sinks(
        settings(
            alert_webhook="https://hooks.example/s3cret",
            alert_email_to="one@example.org, two@example.org",
            alert_email_from="almanac@example.org",
            smtp_host="mail.example.org",
            smtp_password="s3cret",
        )
    )
    assert [sink.name for sink in found] == ["webhook", "email"]
    assert isinstance(found[1], Email)
    assert found[1].recipients == ("one@example.org", "two@example.org")
    assert (found[1].port, found[1].security) == (587, "starttls")


def test_mail_that_is_set_up_in_part_says_what_is_missing(clean_settings: None) -> None:
    with pytest.raises(ConfigurationError, match="need ALMANAC_ALERT_EMAIL_FROM and ALMANAC_SMTP_HOST, too"):
        sinks(settings(alert_email_to="one@example.org"))


# -- texts ---------------------------------------------------------------------------------------


def test_two_thousand_alerts_are_a_message_that_can_be_read() -> None:
    lines = shortened([f"line {number}" for number in range(2_000)])
    assert len(lines) == 21
    assert lines[-1] == "and 1,980 more: `almanac alerts`"
    assert len(shortened(lines[:20])) == 20


def test_a_message_without_lines_is_its_subject() -> None:
    assert slack_text(Message("Only this")) == "*Only this*"

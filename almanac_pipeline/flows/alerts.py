"""Keeps the alerts that rules stand behind, and tells people of what is new about any of them.

Looking and telling are apart: a command looks after its runs, a daemon or `almanac alerts send` tells.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from almanac_pipeline.errors import DeliveryError
from almanac_pipeline.messages import Message, Sink, shortened, sinks
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.policy import permits_feeds, permits_pages
from almanac_pipeline.warehouse import alert_messages
from almanac_pipeline.warehouse.alert_messages import News
from almanac_pipeline.warehouse.alert_rules import RULES, Access
from almanac_pipeline.warehouse.alerts import KINDS, AlertKind, keep_alerts, raise_alert, resolve_alerts, utc
from almanac_pipeline.warehouse.connection import connect_to

TRIAL = Message("Cohort Almanac: alerts will come here", ("This is a trial, nothing has happened.",))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sink was told, or why it could not be."""

    sink: str
    news_count: int
    error: str | None


def permitted(settings: Settings) -> Access:
    """What these settings let us ask for."""
    site = settings.letterboxd_url
    return Access(
        pages=permits_pages(settings, site),
        feeds=permits_feeds(settings, site),
        titles=settings.tmdb_token is not None,
    )


def look(database_url: str, settings: Settings, kinds: Collection[AlertKind] = frozenset(RULES)) -> int:
    """Raise and resolve the alerts of these kinds, each as its rule finds it now; how many it finds."""
    access = permitted(settings)
    found = 0
    with connect_to(database_url, autocommit=True) as connection:
        for kind in kinds:
            with connection.transaction():
                findings = list(RULES[kind](connection, settings, access))
                keep_alerts(connection, kind, findings)
            found += len(findings)
    return found


def send(database_url: str, settings: Settings) -> list[Delivery]:
    """Tell every sink what is new: one message each, or none. A sink that fails is itself an alert.

    Raises:
        ConfigurationError: a sink is set up in part.
    """
    deliveries = []
    with (
        connect_to(database_url, autocommit=True) as connection,
        alert_messages.sending(connection) as is_ours,
    ):
        for sink in sinks(settings) if is_ours else []:
            news = alert_messages.due(connection, sink.name)
            if not news:
                continue
            error = _failure(sink, message_of(news))
            with connection.transaction():
                if error is not None:
                    alert_messages.mark_failed(connection, sink.name, news, error)
                    raise_alert(connection, "undelivered", sink.name, error)
                else:
                    alert_messages.mark_sent(connection, sink.name, news)
                    if resolve_alerts(connection, "undelivered", sink.name):
                        alert_messages.mark_reachable(connection, sink.name)
            deliveries.append(Delivery(sink.name, len(news), error))
    return deliveries


def try_sinks(database_url: str | None, settings: Settings) -> list[Delivery]:
    """Send every sink a word, to see whether it arrives. Who takes it hears all it missed at the next look.

    Raises:
        ConfigurationError: a sink is set up in part.
    """
    deliveries = [Delivery(sink.name, 0, _failure(sink, TRIAL)) for sink in sinks(settings)]
    reached = [delivery.sink for delivery in deliveries if delivery.error is None]
    if reached and database_url is not None:
        with connect_to(database_url, autocommit=True) as connection:
            for sink in reached:
                resolve_alerts(connection, "undelivered", sink)
                alert_messages.mark_reachable(connection, sink)
    return deliveries


def message_of(news: Sequence[News]) -> Message:
    """One message about some news. Pure; the order of the news stays."""
    opened = sum(each.resolved_at is None for each in news)
    counts = {"open": opened, "resolved": len(news) - opened}
    words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    return Message(f"Cohort Almanac: alerts: {words}", shortened([line_of(each) for each in news]))


def line_of(news: News) -> str:
    """What is told of one alert: how urgent, what, where to read on. Pure."""
    kind = KINDS[news.kind]
    if news.resolved_at is not None:
        return f"resolved: {news.subject}: {kind.summary} (open since {utc(news.raised_at)})"
    still = f" Still open since {utc(news.raised_at)}." if news.is_reminder else ""
    return (
        f"{kind.severity}: {news.subject}: {kind.summary}: {news.message.rstrip('.')}.{still}"
        f" To do: {kind.to_do}. Runbook: docs/runbook/{kind.runbook}.md"
    )


def _failure(sink: Sink, message: Message) -> str | None:
    """Why the sink could not be told; None if it was."""
    try:
        sink.send(message)
    except DeliveryError as error:
        return str(error)
    return None

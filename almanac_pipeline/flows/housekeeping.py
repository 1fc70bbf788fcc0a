"""The night's work on the database itself: saved, rid of what is old, and tidied up."""

from __future__ import annotations

import time
from dataclasses import dataclass

from almanac_pipeline.settings import Settings
from almanac_pipeline.warehouse import retention
from almanac_pipeline.warehouse.backup import write_backup
from almanac_pipeline.warehouse.connection import connect_to


@dataclass(frozen=True, slots=True)
class HousekeepingReport:
    """What was done."""

    backup: str
    """The file's name."""
    backup_bytes: int
    backups_removed_count: int
    events_deleted_count: int
    requests_deleted_count: int
    alerts_deleted_count: int
    seconds: float


def keep_house(database_url: str, settings: Settings) -> HousekeepingReport:
    """Back up, then delete what is older than the settings keep, then vacuum. A repetition is harmless.

    Raises:
        WarehouseError: there could be no backup; nothing was deleted.
    """
    started = time.monotonic()
    backup = write_backup(settings)
    with connect_to(database_url, autocommit=True) as connection:
        events = retention.delete_old_events(connection, older_than_days=settings.event_log_keep_days)
        requests = retention.delete_old_requests(connection, older_than_days=settings.request_log_keep_days)
        alerts = retention.delete_old_alerts(connection, older_than_days=settings.alert_keep_days)
        retention.vacuum(connection)
    return HousekeepingReport(
        backup=backup.path.name,
        backup_bytes=backup.bytes_count,
        backups_removed_count=backup.removed_count,
        events_deleted_count=events,
        requests_deleted_count=requests,
        alerts_deleted_count=alerts,
        seconds=time.monotonic() - started,
    )

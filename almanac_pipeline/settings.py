"""The only reader of the environment.

Precedence: command line > environment (`ALMANAC_*`, also from `.env`) > `almanac.toml` > defaults.
The command line hands its values on as environment variables before the first call of
`get_settings`, so that every process of a run sees the same ones. Holds no logic beyond
validation and derived paths.
"""

from __future__ import annotations

import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from almanac_pipeline.errors import ConfigurationError

PROJECT_ROOT = Path(__file__).resolve().parent.parent

LETTERBOXD_URL = "https://letterboxd.com"
TMDB_URL = "https://api.themoviedb.org/3"


class Settings(BaseSettings):
    """Everything that can be configured. Times are in the unit that the name ends with."""

    model_config = SettingsConfigDict(
        env_prefix="ALMANAC_",
        env_file=PROJECT_ROOT / ".env",
        toml_file=PROJECT_ROOT / "almanac.toml",
        extra="ignore",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(
        default=PROJECT_ROOT / ".almanac",
        description="Folder for the embedded database, Dagster's home, exports and logs.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql:// URL of your own server; unset means the embedded one.",
    )

    letterboxd_url: str = Field(default=LETTERBOXD_URL, description="Base URL of the member pages.")
    tmdb_url: str = Field(default=TMDB_URL, description="Base URL of the TMDB API, version included.")
    tmdb_token: SecretStr | None = Field(
        default=None, description="TMDB API Read Access Token; unset skips enrichment from TMDB."
    )

    authorised: bool = Field(
        default=False,
        description="You state that Letterboxd has authorised you to fetch pages. Needs `contact`.",
    )
    contact: str | None = Field(
        default=None, description="E-mail or URL that the user agent shows to the sites we ask."
    )
    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Rate per host, over all processes. Unset: 0.2, and no limit for loopback hosts.",
    )
    tmdb_requests_per_10_seconds: int | None = Field(
        default=None,
        ge=1,
        le=200,
        description="TMDB rate, over all processes. Unset: 40, and no limit for loopback hosts.",
    )
    http_timeout_seconds: float = Field(
        default=30.0, gt=0, description="Connect and read time-out of a request."
    )
    http_workers: int = Field(default=8, ge=1, le=32, description="Requests under way at once, per run.")
    robots_max_age_hours: float = Field(default=24.0, ge=0, description="How long a robots.txt is believed.")

    requests_per_day: int | None = Field(
        default=None,
        ge=1,
        description="Requests for web pages per host and UTC day, over all processes; TMDB has its rate "
        "only. Unset: 10,000, and no limit for loopback hosts.",
    )

    fresh_minutes: float | None = Field(
        default=None,
        ge=0,
        description="A member synced within this time is not read again. Unset: 10; 0 for loopback hosts.",
    )
    # Less than what may lie between two readings of a day (22 hours), so that each of them looks.
    likes_max_age_hours: float = Field(
        default=20.0,
        ge=0,
        description="Without a sign of news, likes are looked at again after this time.",
    )
    overlap_pages: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Pages read beyond the first known rating, against ties and shifting pages.",
    )
    profile_max_age_hours: float = Field(
        default=20.0, ge=0, description="A profile (favourites) read within this time is not read again."
    )
    full_read_max_age_hours: float = Field(
        default=168.0,
        ge=0,
        description="Where the newest-first page is forbidden, all ratings are read again after this time.",
    )
    histogram_max_age_days: float = Field(
        default=30.0, ge=0, description="A global histogram younger than this is not read again."
    )
    shrink_guard_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A full snapshot below this share of what is stored removes nothing.",
    )

    sync_every_hours: int = Field(
        default=24,
        ge=1,
        le=8760,
        description="How often the schedule reads what is new of a cohort that says nothing else of itself.",
    )
    batch_members: int = Field(
        default=1000, ge=1, description="A scheduled run takes cohorts of about so many members together."
    )
    event_log_keep_days: int = Field(
        default=30,
        ge=1,
        description="Dagster's events older than this are deleted, but for the latest of each asset.",
    )
    request_log_keep_days: int = Field(
        default=90, ge=1, description="Rows of ops.http_requests older than this are deleted."
    )
    alert_keep_days: int = Field(
        default=90,
        ge=1,
        description="Alerts resolved longer ago than this are deleted, but for the latest of each subject.",
    )

    inbox: Path | None = Field(
        default=None,
        description="Folder that is watched for export ZIPs. Unset: `inbox` below the home folder.",
    )
    import_max_megabytes: int = Field(
        default=200, ge=1, description="An export ZIP may unpack to this much; a larger one is refused."
    )
    volume_alert_factor: float = Field(
        default=3.0,
        gt=1,
        description="A run or a day with this many times the usual requests or changes raises an alert.",
    )
    stale_hours: float = Field(
        default=24.0,
        gt=0,
        description="A cohort without a complete pipeline, or feeds unread, for this time raise an alert.",
    )
    backlog_alert_films: int = Field(
        default=500, ge=1, description="A smaller backlog of enrichment raises no alert, growing or not."
    )
    rate_limited_alert_count: int = Field(
        default=10, ge=1, description="This many answers 429 of a host within an hour raise an alert."
    )
    disk_alert_gigabytes: float = Field(
        default=5.0, ge=0, description="Less free space than this (GiB) beside home or database alerts."
    )
    database_alert_gigabytes: float | None = Field(
        default=None, gt=0, description="A database larger than this (GiB) raises an alert. Unset: never."
    )

    alert_webhook: SecretStr | None = Field(
        default=None,
        description="Slack-compatible webhook that alerts are posted to. Whoever has it can post.",
    )
    alert_email_to: str | None = Field(
        default=None, description="Addresses that alerts are mailed to, separated by commas."
    )
    alert_email_from: str | None = Field(default=None, description="Sender of these mails.")
    smtp_host: str | None = Field(default=None, description="Server that takes these mails.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection to it is encrypted; none only for one nearby."
    )
    smtp_user: str | None = Field(default=None, description="Who logs in there. Unset: nobody does.")
    smtp_password: SecretStr | None = Field(default=None, description="With this password.")

    backups: Path | None = Field(
        default=None,
        description="Folder for backups, of this database only. Unset: `backups` below the home folder.",
    )
    backup_keep_count: int = Field(
        default=7, ge=1, description="Backups kept in that folder; a new one deletes the oldest beyond it."
    )

    webserver_port: int = Field(
        default=3000, ge=1, le=65535, description="Dagster UI; a free one is taken if busy."
    )
    metrics_port: int = Field(
        default=9464, ge=1, le=65535, description="Where `almanac metrics` serves /metrics."
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="console: readable lines, and JSON in `logs` below the home folder; json: JSON on "
        "standard output only, as containers want it.",
    )
    log_keep_days: int = Field(
        default=14, ge=1, description="JSON log files older than this are deleted; one is begun each UTC day."
    )

    @field_validator("home", "inbox", "backups")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it has to begin with postgresql://")
        return value

    @field_validator("alert_webhook")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("it has to begin with https://")
        return value

    @field_validator("letterboxd_url", "tmdb_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            TomlConfigSettingsSource(settings_cls),
        )

    @property
    def inbox_folder(self) -> Path:
        """The folder that is watched for export ZIPs."""
        return self.inbox or self.home / "inbox"

    @property
    def backup_folder(self) -> Path:
        """Where backups of the database are kept."""
        return self.backups or self.home / "backups"

    @property
    def inspection_folder(self) -> Path:
        """Where pages that could not be understood are kept for a person to look at."""
        return self.home / "inspection"

    @property
    def data_docs_folder(self) -> Path:
        """Where the pages of the quality checks are kept."""
        return self.home / "data_docs"

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its instance file and compute logs."""
        return self.home / "dagster_home"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        pydantic.ValidationError: a value is missing or malformed; the message names the field.
        ConfigurationError: almanac.toml is no TOML.
    """
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"almanac.toml cannot be read: {error}") from None


def traces_are_wanted() -> bool:
    """Whether one of the standard variables names an endpoint for traces; the SDK itself reads the rest."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def given_variables() -> list[str]:
    """The names of the settings that this process's environment holds."""
    return sorted(name for name in os.environ if name.startswith("ALMANAC_"))


def variables_of_runs() -> list[str]:
    """What a run in a container of its own is handed on: the settings, and where traces go."""
    return sorted(name for name in os.environ if name.startswith(("ALMANAC_", "OTEL_")))


def settings_in_use() -> tuple[list[str], list[str]]:
    """Where settings were found, and which of the names there are no setting. Values stay unread."""
    env_file, toml_file = (Settings.model_config.get(key) for key in ("env_file", "toml_file"))
    used, names = given_variables(), given_variables()
    if env_file and Path(str(env_file)).exists():
        used.append(Path(str(env_file)).name)
        names += [name for name in dotenv_values(str(env_file)) if name.startswith("ALMANAC_")]
    if toml_file and Path(str(toml_file)).exists():
        used.append(Path(str(toml_file)).name)
        names += [f"ALMANAC_{name.upper()}" for name in tomllib.loads(Path(str(toml_file)).read_text())]
    known = {f"ALMANAC_{name.upper()}" for name in Settings.model_fields}
    return used, sorted(set(names) - known)


def export_to_environment(**overrides: object) -> Settings:
    """Put command-line values where child processes see them, and read the settings again.

    Keys are field names; `None` means "not given on the command line" and changes nothing.
    """
    for name, value in overrides.items():
        if name not in Settings.model_fields:
            raise KeyError(name)
        if value is not None:
            os.environ[f"ALMANAC_{name.upper()}"] = str(value)
    get_settings.cache_clear()
    return get_settings()

"""Where a setting comes from, what happens to a bad one, and that every one is documented."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from almanac_pipeline.cli import main
from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.settings import (
    PROJECT_ROOT,
    Settings,
    export_to_environment,
    get_settings,
    settings_in_use,
)

SECRETS = {
    "alert_webhook": "https://host/s3cret",
    "database_url": "postgresql://me:s3cret@host/db",
    "smtp_password": "s3cret",
    "tmdb_token": "s3cret",
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_settings: None) -> Path:
    """A folder of this test's own, in which `.env` and `almanac.toml` are looked for."""
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setitem(Settings.model_config, "toml_file", tmp_path / "almanac.toml")
    return tmp_path


def error_of_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `almanac status` says on standard error when it cannot even begin."""
    monkeypatch.setattr(sys, "argv", ["almanac", "status"])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out) == (1, "")
    return captured.err


# -- precedence --------------------------------------------------------------------------------


def test_without_any_source_the_defaults_hold() -> None:
    settings = Settings()
    assert settings.home == PROJECT_ROOT / ".almanac"
    assert (settings.http_workers, settings.authorised, settings.database_url) == (8, False, None)


def test_each_source_gives_way_to_the_one_before_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "almanac.toml").write_text("http_workers = 2\n")
    assert Settings().http_workers == 2
    (folder / ".env").write_text("ALMANAC_HTTP_WORKERS=3\n")
    assert Settings().http_workers == 3
    monkeypatch.setenv("ALMANAC_HTTP_WORKERS", "4")
    assert Settings().http_workers == 4
    assert export_to_environment(http_workers=5).http_workers == 5


def test_the_command_line_reaches_child_processes_through_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_URL", "to be replaced, and put back after the test")
    export_to_environment(tmdb_url="http://localhost:1/3", letterboxd_url=None)
    assert Settings().tmdb_url == "http://localhost:1/3"
    assert Settings().letterboxd_url == "https://letterboxd.com"


def test_a_misspelt_option_of_the_command_line_is_refused() -> None:
    with pytest.raises(KeyError, match="tmdb_tokken"):
        export_to_environment(tmdb_tokken="x")


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_TOKEN", "")
    monkeypatch.setenv("ALMANAC_REQUESTS_PER_SECOND", "")
    assert Settings().tmdb_token is None
    assert Settings().requests_per_second is None


def test_settings_are_read_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("ALMANAC_HTTP_WORKERS", "4")
    assert get_settings() is first


def test_a_home_below_the_users_folder_is_found(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("ALMANAC_HOME", "~/films")
    assert Settings().home == folder / "films"
    assert Settings().dagster_home == folder / "films" / "dagster_home"


def test_a_slash_at_the_end_of_an_address_does_not_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_TMDB_URL", "http://localhost:1/3/")
    assert Settings().tmdb_url == "http://localhost:1/3"


# -- bad values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("HTTP_WORKERS", "many", "valid integer"),
        ("HTTP_WORKERS", "0", "greater than or equal to 1"),
        ("HTTP_TIMEOUT_SECONDS", "-1", "greater than 0"),
        ("REQUESTS_PER_SECOND", "0", "greater than 0"),
        ("SHRINK_GUARD_SHARE", "1.5", "less than or equal to 1"),
        ("AUTHORISED", "perhaps", "valid boolean"),
        ("WEBSERVER_PORT", "70000", "less than or equal to 65535"),
        ("DATABASE_URL", "mysql://me:s3cret@host/db", "begin with postgresql://"),
        ("DATABASE_URL", "s3cret", "begin with postgresql://"),
        ("ALERT_WEBHOOK", "hooks.example/s3cret", "begin with https://"),
        ("SMTP_SECURITY", "ssl", "'starttls', 'tls' or 'none'"),
    ],
)
def test_a_malformed_value_gives_one_line_that_names_the_setting(
    name: str,
    value: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"ALMANAC_{name}", value)
    message = error_of_command(capsys, monkeypatch)
    assert message.startswith(f"Error: setting ALMANAC_{name}: ")
    assert reason in message
    assert message.count("\n") == 1
    assert "s3cret" not in message


def test_every_malformed_value_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALMANAC_HTTP_WORKERS", "many")
    monkeypatch.setenv("ALMANAC_AUTHORISED", "perhaps")
    lines = error_of_command(capsys, monkeypatch).splitlines()
    assert [line.split(":")[1] for line in lines] == [
        " setting ALMANAC_AUTHORISED",
        " setting ALMANAC_HTTP_WORKERS",
    ]


def test_a_toml_file_that_is_none_is_named_with_the_place_of_the_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "almanac.toml").write_text("http_workers = = 3\n")
    with pytest.raises(ConfigurationError, match=r"almanac\.toml cannot be read: .*line 1"):
        get_settings()
    assert error_of_command(capsys, monkeypatch).count("\n") == 1


def test_names_that_are_no_setting_are_found_in_every_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "almanac.toml").write_text("http_worker = 3\nhttp_workers = 3\n")
    (folder / ".env").write_text("ALMANAC_TMDB_TOKENS=x\nDAGSTER_DISABLE_TELEMETRY=1\n")
    monkeypatch.setenv("ALMANAC_HOMES", "x")
    monkeypatch.setenv("ALMANAC_HOME", "x")
    assert settings_in_use() == (
        ["ALMANAC_HOME", "ALMANAC_HOMES", ".env", "almanac.toml"],
        ["ALMANAC_HOMES", "ALMANAC_HTTP_WORKER", "ALMANAC_TMDB_TOKENS"],
    )


# -- secrets -----------------------------------------------------------------------------------


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"ALMANAC_{name.upper()}", value)
    settings = Settings()
    assert settings.tmdb_token == SecretStr("s3cret")
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "s3cret" not in shown


def test_whatever_sounds_like_a_secret_is_kept_as_one() -> None:
    sounding = re.compile("token|password|secret|key|webhook|database_url")
    found = {name for name in Settings.model_fields if sounding.search(name)}
    kept = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert found == kept == set(SECRETS)


def test_a_refused_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_DATABASE_URL", "mysql://me:s3cret@host/db")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "s3cret" not in str(refused.value)


# -- documentation -----------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """{setting: value} of .env.example, commented out or not."""
    lines = (PROJECT_ROOT / ".env.example").read_text().splitlines()
    matches = (re.fullmatch(r"#?(ALMANAC_\w+)=(.*)", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


def test_the_example_names_every_setting_and_no_other() -> None:
    assert sorted(documented()) == sorted(f"ALMANAC_{name.upper()}" for name in Settings.model_fields)


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        if field.default is None or name == "home":  # an example there, and a folder relative to the project
            continue
        with monkeypatch.context() as environment:
            environment.setenv(f"ALMANAC_{name.upper()}", documented()[f"ALMANAC_{name.upper()}"])
            assert getattr(Settings(), name) == field.default, name


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name

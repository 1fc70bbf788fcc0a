"""What Dagster is told when a step fails: one line, for good, and nothing of a row."""

from __future__ import annotations

import dagster as dg
import psycopg
import pytest

from almanac_pipeline.defs.resources import final_errors
from almanac_pipeline.errors import NotFoundError


def test_our_errors_end_a_step_for_good_in_their_own_words() -> None:
    with pytest.raises(dg.Failure) as caught, final_errors():
        raise NotFoundError("no such cohort")
    assert caught.value.description == "no such cohort"
    assert not caught.value.allow_retries


def test_a_database_error_is_one_line_that_repeats_no_row() -> None:
    error = psycopg.errors.UniqueViolation("duplicate key\nDETAIL:  Key (username)=(ann) already exists.")
    with pytest.raises(dg.Failure) as caught, final_errors():
        raise error
    assert caught.value.description == "The database failed: UniqueViolation (SQLSTATE 23505)"
    assert caught.value.__suppress_context__
    assert not caught.value.allow_retries


def test_a_database_that_is_away_is_named_as_that() -> None:
    with pytest.raises(dg.Failure, match="almanac doctor"), final_errors():
        raise psycopg.OperationalError("server closed the connection unexpectedly")

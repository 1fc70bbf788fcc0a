"""Lets time pass: everything that the database remembers becomes older, so that now() stays the clock.

The product's rules compare what is stored with now(). Moved back by a day, what is stored is a day old.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

SCHEMAS = ("raw", "ops", "intermediate", "almanac", "dagster")

# Timestamps, and days by which budgets are counted. Films' release dates and viewings are no clock.
COLUMNS = """
select nspname, relname, array_agg(attname::text order by attname), array_agg(format_type(atttypid, null))
from pg_attribute
join pg_class on pg_class.oid = attrelid
join pg_namespace on pg_namespace.oid = relnamespace
where relkind = 'r' and nspname = any(%s) and attnum > 0 and not attisdropped and attgenerated = ''
    and (
        atttypid = any(array['timestamptz'::regtype, 'timestamp'::regtype])
        or (nspname, relname, attname) = ('ops', 'http_hosts', 'budget_day')
        -- Dagster counts these in seconds.
        or (nspname, relname) = ('dagster', 'runs') and attname in ('start_time', 'end_time')
    )
group by nspname, relname
"""


def pass_time(database_url: str, seconds: float) -> int:
    """Make all that is stored older by so much, in one transaction; returns how many tables that are.

    Triggers and foreign keys sleep meanwhile: nothing has changed but the time.
    """
    with psycopg.connect(database_url) as connection:
        connection.execute("set session_replication_role = replica")
        tables = connection.execute(COLUMNS, [list(SCHEMAS)]).fetchall()
        for schema, table, columns, types in tables:
            changes = sql.SQL(", ").join(
                sql.SQL("{0} = {0} - {1}").format(sql.Identifier(column), _amount(kind, seconds))
                for column, kind in zip(columns, types, strict=True)
            )
            connection.execute(sql.SQL("update {} set {}").format(sql.Identifier(schema, table), changes))
    return len(tables)


def _amount(kind: str, seconds: float) -> sql.Composable:
    """How much earlier in a column of this type."""
    if kind == "date":
        return sql.Literal(round(seconds / 86_400))
    if kind == "double precision":
        return sql.Literal(seconds)
    return sql.SQL("make_interval(secs => {})").format(sql.Literal(seconds))

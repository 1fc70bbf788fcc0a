"""What is measured: every run, and every request ever sent, counted where neither retention nor kill -9 reach.

Revision: 0011, after 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TELEMETRY = """
create table ops.run_telemetry (
    run_id text primary key,
    job text,
    cohort text,
    status text not null default 'started',
    started_at timestamptz,
    finished_at timestamptz,
    step_seconds jsonb not null default '{}',
    failed_step text,
    requests_count integer not null default 0,
    cache_hits_count integer not null default 0,
    retries_count integer not null default 0,
    rows_seen bigint not null default 0,
    rows_changed bigint not null default 0,
    failures_count integer not null default 0,
    peak_memory_bytes bigint,
    recorded_at timestamptz not null default now()
);
comment on table ops.run_telemetry is
    'One row per Dagster run, also of those that were killed: Dagster''s own word on status and steps beside what we counted. Kept when Dagster''s rows are purged: a row is a few hundred bytes.';
comment on column ops.run_telemetry.cohort is
    'The slug; of a run over several all of them with commas between, or first...last; null for runs of no cohort.';
comment on column ops.run_telemetry.status is 'Dagster''s, in lower case: queued, started, success, failure, canceled and others.';
comment on column ops.run_telemetry.step_seconds is '{step: seconds}; of a step that was killed until its run was declared dead.';
comment on column ops.run_telemetry.cache_hits_count is 'Answers 304, and titles for which a stored answer of TMDB was still valid.';
comment on column ops.run_telemetry.peak_memory_bytes is
    'The most that the process of the run held, as of the end of its last step; null: it was killed before.';
create index run_telemetry_finished on ops.run_telemetry (finished_at);
create index scrape_runs_dagster on ops.scrape_runs (dagster_run_id);
create index scrape_runs_started on ops.scrape_runs (started_at);
create index enrichment_runs_dagster on ops.enrichment_runs (dagster_run_id);

create table ops.http_request_totals (
    host text not null,
    path_class text not null,
    status integer not null,
    requests_count bigint not null,
    cache_hits_count bigint not null,
    retries_count bigint not null,
    bytes_count bigint not null,
    milliseconds_sum bigint not null,
    primary key (host, path_class, status)
);
comment on table ops.http_request_totals is
    'All that ops.http_requests ever held, summed up: counters for monitoring that only grow, whatever is purged there. status 0: no answer came.';

create function ops.total_requests() returns trigger language plpgsql as $$
begin
    insert into ops.http_request_totals as total
    select
        host, path_class, coalesce(status, 0), count(*), count(*) filter (where cache_hit),
        count(*) filter (where attempt > 1), sum(bytes), sum(milliseconds)
    from added
    group by host, path_class, coalesce(status, 0)
    -- In one order everywhere, so that two writers cannot wait for each other.
    order by 1, 2, 3
    on conflict (host, path_class, status) do update set
        requests_count = total.requests_count + excluded.requests_count,
        cache_hits_count = total.cache_hits_count + excluded.cache_hits_count,
        retries_count = total.retries_count + excluded.retries_count,
        bytes_count = total.bytes_count + excluded.bytes_count,
        milliseconds_sum = total.milliseconds_sum + excluded.milliseconds_sum;
    return null;
end $$;

insert into ops.http_request_totals
select
    host, path_class, coalesce(status, 0), count(*), count(*) filter (where cache_hit),
    count(*) filter (where attempt > 1), sum(bytes), sum(milliseconds)
from ops.http_requests group by host, path_class, coalesce(status, 0);
create trigger total_requests after insert on ops.http_requests
    referencing new table as added for each statement execute function ops.total_requests();

insert into ops.salts values ('logs', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
"""


def upgrade() -> None:
    op.execute(TELEMETRY)

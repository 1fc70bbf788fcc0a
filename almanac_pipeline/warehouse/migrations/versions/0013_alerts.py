"""What was told of each alert, how the backlog of enrichment grew, and when each cohort's pipeline last got through.

Revision: 0013, after 0011
"""

from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

ALERTS = """
create table ops.alert_messages (
    alert_id bigint not null references ops.alerts on delete cascade,
    sink text not null,
    raised_sent_at timestamptz,
    resolved_sent_at timestamptz,
    failures_count smallint not null default 0,
    tried_at timestamptz not null default now(),
    error_sample text,
    primary key (alert_id, sink)
);
comment on table ops.alert_messages is 'What each sink (webhook, email) was told of an alert: that it is open, last at raised_sent_at, and that it is resolved. failures_count: since the last success; error_sample holds neither address nor secret.';

create table ops.backlog_counts (
    counted_at timestamptz primary key default now(),
    films_count integer not null
);
comment on table ops.backlog_counts is 'How many films waited for an enrichment that may be asked for now: about once an hour, kept for eight days.';

create view ops.cohort_pipelines as
with published as (
    select cohort_id, max(published_at) as published_at
    from ops.publications where input_version <> 'withdrawn' group by cohort_id
),
-- What was read and is not published yet. Diaries and watchlists are in no ranking.
pending as (
    select runs.cohort_id, min(finished_at) as pending_since
    from ops.scrape_runs as runs left join published using (cohort_id)
    where status = 'succeeded' and subject in ('members', 'ratings', 'likes')
        and rows_changed + rows_removed > 0
        and finished_at > coalesce(published_at, '-infinity')
    group by runs.cohort_id
),
reads as (
    select
        runs.cohort_id,
        max(finished_at) as last_read_at,
        max(finished_at) filter (where finished_at < coalesce(pending_since, 'infinity')) as last_success_at
    from ops.scrape_runs as runs left join pending using (cohort_id)
    where status = 'succeeded' and subject = 'ratings'
    group by runs.cohort_id
),
failed_runs as (
    select cohort_id, count(*) as failed_runs_count
    from (
        select cohort_id, status, started_at from ops.scrape_runs
        union all
        select cohort_id, status, started_at from ops.enrichment_runs
    ) as runs
    where status = 'failed' and started_at > now() - interval '24 hours'
    group by cohort_id
),
open_failures as (
    select cohort_id, count(*) as open_failures_count
    from ops.scrape_failures
    join raw.cohort_members as members using (user_id)
    where resolved_at is null and members.until is null
    group by cohort_id
)
select
    cohorts.cohort_id,
    cohorts.slug,
    cohorts.status,
    cohorts.created_at,
    cohorts.sync_every_hours,
    reads.last_read_at,
    published.published_at,
    pending.pending_since,
    reads.last_success_at,
    extract(epoch from now() - reads.last_success_at)::double precision / 3600 as success_age_hours,
    coalesce(failed_runs_count, 0)::integer as failed_runs_count,
    coalesce(open_failures_count, 0)::integer as open_failures_count
from raw.cohorts as cohorts
left join reads using (cohort_id)
left join published using (cohort_id)
left join pending using (cohort_id)
left join failed_runs using (cohort_id)
left join open_failures using (cohort_id);
comment on view ops.cohort_pipelines is 'Per cohort, how its pipeline fares: cohort_freshness and the alert stale_cohort read this.';
comment on column ops.cohort_pipelines.last_success_at is 'When the members'' opinions were last read to the end such that the marts show them: with the publication that followed, or because nothing had changed.';
comment on column ops.cohort_pipelines.pending_since is 'Since when something is read that no publication shows.';
comment on column ops.cohort_pipelines.failed_runs_count is 'Ingestions and enrichments that failed, of those begun within 24 hours.';
comment on column ops.cohort_pipelines.open_failures_count is 'What could not be read of present members and was not overcome since.';
"""


def upgrade() -> None:
    op.execute(ALERTS)

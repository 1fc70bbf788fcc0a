"""Which process executes a run, and when it was last heard of: what died is told from what takes long.

Revision: 0017, after 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

HEARTBEATS = """
create table ops.run_heartbeats (
    dagster_run_id text primary key,
    boot_id text not null,
    pid_namespace text not null,
    pid integer not null,
    process_started text not null,
    seen_at timestamptz not null default now()
);
comment on table ops.run_heartbeats is
    'One row per run under way: the process that executes it says every 15 seconds that it lives. Rows of runs that have ended are removed with the record of their end.';
comment on column ops.run_heartbeats.boot_id is
    'The machine since it was last started; process numbers mean something only there, and only in this namespace.';
comment on column ops.run_heartbeats.process_started is 'In clock ticks since the start of the machine; tells a reused number apart.';
"""


def upgrade() -> None:
    op.execute(HEARTBEATS)

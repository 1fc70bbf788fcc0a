"""Two computations of a circle side by side: the one that is published, and the one that waits to be.

Revision: 0015, after 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Two numbers that take turns, not an ever growing one: the planner multiplies how rare each column's value is.
COMPUTATIONS = """
alter table intermediate.circle_parameters add column computation smallint not null default 0;
comment on column intermediate.circle_parameters.computation is
    'Which of the cohort''s rows in circle_pairs, strategy_scores and strategy_parameters were computed last: 0 or 1, in turn.';

alter table intermediate.cohort_stages add column published_computation smallint;
comment on column intermediate.cohort_stages.published_computation is
    'Which of them readers see: switched by the publication, which removes the others. Null: none was published yet.';
insert into intermediate.cohort_stages (cohort_id, published_computation)
    select cohort_id, 0 from intermediate.circle_parameters
    on conflict (cohort_id) do update set published_computation = 0;

alter table intermediate.circle_pairs
    add column computation smallint not null default 0,
    drop constraint circle_pairs_pkey,
    add primary key (cohort_id, computation, user_a, user_b);
alter table intermediate.strategy_scores
    add column computation smallint not null default 0,
    drop constraint strategy_scores_pkey,
    add primary key (cohort_id, computation, strategy, film_id);
alter table intermediate.strategy_parameters
    add column computation smallint not null default 0,
    drop constraint strategy_parameters_pkey,
    add primary key (cohort_id, computation, strategy);
"""


def upgrade() -> None:
    op.execute(COMPUTATIONS)

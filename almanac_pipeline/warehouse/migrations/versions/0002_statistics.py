"""The tables that numpy writes between the two dbt stages, and dbt's bootstrap record.

Revision: 0002, after 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATISTICS = """
create schema if not exists intermediate;

create table intermediate.circle_parameters (
    cohort_id bigint primary key references raw.cohorts,
    members_count integer not null,
    films_count integer not null,
    ratings_count integer not null,
    overall_mean double precision,
    residual_variance double precision,
    film_variance double precision,
    prior_weight double precision,
    film_mean double precision,
    crowd_slope double precision,
    min_raters integer not null,
    computed_at timestamptz not null default now()
);
comment on table intermediate.circle_parameters is
    'The fitted circle of each cohort (own voice). Without ratings the parameters are null.';

create table intermediate.circle_members (
    cohort_id bigint not null references raw.cohorts,
    user_id bigint not null references raw.users on delete cascade,
    ratings_count integer not null,
    strictness double precision not null,
    spread double precision not null,
    noise double precision not null,
    primary key (cohort_id, user_id)
);
comment on table intermediate.circle_members is
    'How each member uses the stars: strictness (stars above the circle), spread, noise.';

create table intermediate.circle_films (
    cohort_id bigint not null references raw.cohorts,
    film_id bigint not null,
    raters integer not null,
    estimate double precision not null,
    estimate_sd double precision not null,
    information double precision not null,
    prior double precision not null,
    top_decile_probability double precision,
    agreement double precision,
    primary key (cohort_id, film_id)
);
comment on table intermediate.circle_films is
    'What the circle thinks of each rated film (own voice), and how much its ratings agree.';

create table intermediate.strategy_scores (
    cohort_id bigint not null references raw.cohorts,
    strategy text not null,
    film_id bigint not null,
    raters integer not null,
    score double precision not null,
    estimate double precision not null,
    estimate_sd double precision not null,
    eligible boolean not null,
    rank integer,
    rank_low integer,
    rank_high integer,
    tier integer,
    primary key (cohort_id, strategy, film_id)
);
comment on table intermediate.strategy_scores is
    'Score, place, rank interval and tier of each rated film under each strategy.';

create table intermediate.strategy_parameters (
    cohort_id bigint not null references raw.cohorts,
    strategy text not null,
    params jsonb not null,
    computed_at timestamptz not null default now(),
    primary key (cohort_id, strategy)
);
comment on table intermediate.strategy_parameters is 'The parameters that each strategy was computed with.';

create table ops.dbt_bootstraps (
    project_checksum text primary key,
    bootstrapped_at timestamptz not null default now()
);
comment on table ops.dbt_bootstraps is
    'One row: the release of the dbt project whose views, seeds and tables this database has.';
"""


def upgrade() -> None:
    op.execute(STATISTICS)

"""What numpy computes beyond places: certainty of agreement, divergence from the crowd, taste of pairs.

Revision: 0007, after 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATISTICS = """
alter table intermediate.circle_films
    add column agreement_low double precision,
    add column agreement_high double precision,
    add column delta double precision,
    add column delta_low double precision,
    add column delta_high double precision,
    add column delta_p double precision,
    add column delta_q double precision,
    add column wasserstein double precision;
comment on table intermediate.circle_films is
    'What the circle thinks of each rated film (own voice), how much its ratings agree (null below eight raters), and how far it is from the crowd (null where nothing can be compared).';
comment on column intermediate.circle_films.delta is 'Estimate minus global average, in stars.';
comment on column intermediate.circle_films.delta_q is
    'False discovery rate (Benjamini-Hochberg) at which the film would still count as different from the crowd.';
comment on column intermediate.circle_films.wasserstein is
    'Stars that the average rating must be moved to turn the circle''s histogram into the global one.';

-- Half of the time that their rows took to write: circle_parameters, written in the same transaction, has one.
alter table intermediate.circle_films drop constraint circle_films_cohort_id_fkey;
alter table intermediate.strategy_scores drop constraint strategy_scores_cohort_id_fkey;

-- The films that have a place, of one cohort and strategy: a quarter of a large circle's, read by every ranking.
create index strategy_scores_places on intermediate.strategy_scores (cohort_id, strategy, rank)
    where rank is not null;

create table intermediate.circle_pairs (
    cohort_id bigint not null,
    user_a bigint not null,
    user_b bigint not null check (user_a < user_b),
    overlap integer not null,
    pearson double precision,
    similarity double precision,
    pearson_low double precision,
    pearson_high double precision,
    star_gap double precision,
    equal_share double precision,
    residual_pearson double precision,
    residual_similarity double precision,
    residual_low double precision,
    residual_high double precision,
    primary key (cohort_id, user_a, user_b)
);
comment on table intermediate.circle_pairs is
    'How alike two members rate the films that both rated; null, never 0, where nothing can be said. Without foreign keys, which cost more than the rows: circle_members, written in the same transaction, has them.';
comment on column intermediate.circle_pairs.similarity is 'Pearson shrunk for small overlap: r n/(n + 25).';
comment on column intermediate.circle_pairs.residual_similarity is
    'The same beyond the crowd: of what is left of the ratings after the member''s strictness and the film''s estimate; from 50 films in common.';
"""


def upgrade() -> None:
    op.execute(STATISTICS)

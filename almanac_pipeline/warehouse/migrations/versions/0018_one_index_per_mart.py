"""Marts that films are asked for by: the key's index answers alone, a second one beside it goes.

Revision: 0018, after 0017. dbt makes these tables, so a new database has none of them yet.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KEYS_THAT_ANSWER = """
do $$
declare
    mart regclass;
    answers text;
    second_index regclass;
begin
    for mart, answers in select * from (values
        (to_regclass('almanac.cohort_film_stats'), 'liked_share'),
        (to_regclass('almanac.ranking_insights'), 'bucket, distribution_label, watcher_percentile, delta')
    ) as marts loop
        for second_index in
            select indexrelid from pg_index
            where indrelid = mart and not indisprimary
                and pg_get_indexdef(indexrelid) like '%(cohort, film_id, ' || answers || ')'
        loop
            execute format('drop index %s', second_index);
            execute format(
                'alter table %s drop constraint %I, add primary key (cohort, film_id) include (%s)',
                mart,
                (select conname from pg_constraint where conrelid = mart and contype = 'p'),
                answers
            );
        end loop;
    end loop;
end
$$
"""


def upgrade() -> None:
    op.execute(KEYS_THAT_ANSWER)

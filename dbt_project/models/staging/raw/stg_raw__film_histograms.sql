select
    film_id,
    source,
    count_0_5,
    count_1_0,
    count_1_5,
    count_2_0,
    count_2_5,
    count_3_0,
    count_3_5,
    count_4_0,
    count_4_5,
    count_5_0,
    stated_ratings
from {{ source('raw', 'film_histograms') }}

select
    user_id,
    last_success_at as read_at
from {{ source('ops', 'user_scrape_state') }}
where subject = 'ratings'

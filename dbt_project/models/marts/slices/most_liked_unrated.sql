{{ slice_of("bucket = 'most liked, unrated'", "film_stats.liked_count desc") }}

{{ slice_of("bucket = 'cult favorite'", "insights.score desc") }}

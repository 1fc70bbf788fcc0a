{{ slice_of("bucket = 'hidden gem'", "insights.score desc") }}

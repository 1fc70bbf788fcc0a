{{ slice_of("bucket = 'elite acclaim'", "insights.score desc") }}

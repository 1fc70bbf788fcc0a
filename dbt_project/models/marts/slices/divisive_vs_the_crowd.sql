{{ slice_of("bucket = 'divisive vs the crowd'", "abs(insights.delta) desc") }}

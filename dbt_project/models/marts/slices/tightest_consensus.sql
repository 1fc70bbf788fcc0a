{{ slice_of("distribution_label = 'tight consensus'", "insights.agreement desc") }}

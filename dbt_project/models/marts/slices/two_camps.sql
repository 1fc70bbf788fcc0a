{{ slice_of("distribution_label = 'two camps'", "insights.agreement asc") }}

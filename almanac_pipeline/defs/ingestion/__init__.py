"""Who is in a cohort and what they think."""

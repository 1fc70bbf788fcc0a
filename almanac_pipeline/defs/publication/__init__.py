"""When a cohort was published, from what."""

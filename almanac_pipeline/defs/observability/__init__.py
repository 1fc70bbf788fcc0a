"""What Dagster has to do with how the almanac says how it is."""

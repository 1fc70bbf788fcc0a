"""How the numbers of published cohorts are spread, and how far they moved."""

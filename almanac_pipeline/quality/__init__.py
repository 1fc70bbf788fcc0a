"""Data-quality rules and their adapter to asset checks."""

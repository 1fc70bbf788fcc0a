"""Cohort Almanac: what a circle of film people thinks, kept fresh and published honestly.

Nothing lives here but the version; the rooms are described in README.md.
"""

__version__ = "0.1.0"

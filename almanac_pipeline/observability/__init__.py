"""How the almanac says how it is: log lines, metrics, traces.

Belongs here: their formats, where they go, what they may contain. What is logged is said where it happens,
with the standard library's loggers and OpenTelemetry's API; what is counted is read from the database
(warehouse/telemetry.py). No Dagster, no SQL, and never a member's name.
"""

"""Benchmarks: one module per hot path, each with a `run() -> dict`. `python -m bench` runs them all."""

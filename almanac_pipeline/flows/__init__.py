"""Connects the rooms: a source to the warehouse, the warehouse to the statistics and back.

One module per step of the chain. No SQL (warehouse has it), no HTTP (sources have it), no
Dagster (defs has it): a flow can be called from a test or a shell as well as from an asset.
"""

"""`almanac sandbox`: the command itself lives with the sandbox, which also runs without this package."""

from __future__ import annotations

from almanac_pipeline.sandbox.command import sandbox

__all__ = ["sandbox"]

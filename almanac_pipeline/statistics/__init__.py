"""Pure numpy functions over arrays: the circle model, rank intervals, tiers. No I/O."""

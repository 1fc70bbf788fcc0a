"""A soak: weeks of a home's daily life, in minutes, against a sandbox that misbehaves.

Nothing of the product knows that it is watched. `clock` lets days pass, `site` makes the world move and
orders the faults, `daemon` ticks the real sensors and schedules and executes what they ask for, in a
process that can be killed, `life` is the operator and the calendar, `audits` compares everything
stored with what the site knows. `python -m bench.soak` runs it.
"""

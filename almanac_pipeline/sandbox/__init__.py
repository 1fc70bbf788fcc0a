"""A stand-in for Letterboxd and TMDB to develop, demonstrate and test against.

`client` steers and spawns a sandbox, `server` is one, `options` says which. Importing this package
imports none of them.
"""

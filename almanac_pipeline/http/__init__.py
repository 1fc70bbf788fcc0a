"""The polite client: rate limit, robots, retry, classification of answers, request log.

Knows no Letterboxd and no TMDB; parses nothing.
"""

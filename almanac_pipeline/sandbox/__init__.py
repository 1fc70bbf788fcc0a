"""A stand-in for Letterboxd and TMDB to develop, demonstrate and test against."""

"""Public pages of a film diary site: pure parsers and the source that fetches them."""

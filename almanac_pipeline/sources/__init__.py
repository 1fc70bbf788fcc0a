"""What a member's taste is read from: parsers, records, and the sources that fetch.

Parsers are pure (bytes in, frozen dataclasses out); a source builds requests through the
polite client and hands the answers to the parsers. No SQL, no Dagster.
"""

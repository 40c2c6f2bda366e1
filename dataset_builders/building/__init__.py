"""Build a published benchmark from raw reviews (extra: benchmark)."""

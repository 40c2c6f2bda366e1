"""The way from raw reviews to a published benchmark (extra: benchmark)."""

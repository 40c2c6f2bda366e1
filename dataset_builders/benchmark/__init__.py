"""Definition of the benchmark: axes, columns, reports, checks."""

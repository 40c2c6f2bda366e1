"""The benchmark as its readers see it: axes, columns, reports, checks; nothing of how it is built."""

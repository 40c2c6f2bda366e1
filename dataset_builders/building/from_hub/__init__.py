"""Benchmarks from public sets of the Hub that hold the authors' generated preferences, in the layout of a build."""

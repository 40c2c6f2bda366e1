"""Evaluation: a model and requests to rankings, and rankings of five axes to one table."""

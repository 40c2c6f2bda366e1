"""Requests, training examples and their batches."""

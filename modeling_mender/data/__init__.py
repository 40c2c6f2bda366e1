"""Requests, examples and the batches that are made of them."""

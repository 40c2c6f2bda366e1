"""Obedience: whether a list of recommendations does what a preference says, measured on any benchmark, without torch.

`attributes` says what items are, `wordings` holds the sentences, `asks` makes requests with what obeys them, `metrics`
scores the answers, and `baselines` gives the simple answers that every score stands beside.
"""

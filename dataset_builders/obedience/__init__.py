"""Obedience of recommendations to preferences, measured on any benchmark without torch.

`attributes` describes items, `wordings` holds sentences, `asks` makes requests with the items that satisfy them,
`metrics` scores the answers, and `baselines` gives simple answers for comparison.
"""

"""Score the rankings of any recommender on all axes, without torch.

`runs` reads and writes rankings, `ranks` finds each row's target in them, `figures` averages metrics over ranks,
`significance` computes intervals and tests, `results` holds the types, and `seeds` averages over trainings.
"""

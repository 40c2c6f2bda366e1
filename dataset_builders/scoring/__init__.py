"""From a run file to figures, without torch: any recommender's rankings on all axes, scored alike.

`runs` reads and writes rankings, `ranks` finds the target of every row in them, `figures` makes means of ranks,
`significance` says how sure they are, `results` holds it all as types, and `seeds` puts several trainings of a method
together.
"""

"""From a run file to figures, without torch: anybody's rankings on the five axes, scored alike.

`runs` reads and writes rankings, `ranks` finds the target of every row in them, `figures` makes means of ranks,
`significance` says how sure they are, and `seeds` puts several trainings of one method together.
"""

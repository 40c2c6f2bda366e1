"""The five evaluation axes (section 3.2): each is a name and one function from the intermediate tables to its rows."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from . import coarse, fine, history, recommendation, sentiment
from .base import BenchmarkTables, UnsupportedAxis

BUILDERS: Mapping[str, Callable[[BenchmarkTables], dict[str, pa.Table]]] = {
    axis.NAME: axis.build for axis in (recommendation, sentiment, fine, coarse, history)
}
"""Axis -> function that makes its rows, by split; raises [`UnsupportedAxis`] where the input is missing."""

__all__ = ["BUILDERS", "BenchmarkTables", "UnsupportedAxis"]

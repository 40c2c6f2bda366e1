"""Rows of the evaluation axes (section 3.2), one function per axis."""

import importlib
from collections.abc import Callable

import pyarrow as pa

from ...benchmark.axes import Axis
from .base import BenchmarkTables, UnsupportedAxis

__all__ = ["BenchmarkTables", "UnsupportedAxis", "builder_of"]


def builder_of(axis: Axis) -> Callable[[BenchmarkTables], dict[str, pa.Table]]:
    """Resolves the function that makes the rows of an axis; it raises [`UnsupportedAxis`] on missing input."""
    if callable(axis.builder):
        return axis.builder
    module, _, name = axis.builder.partition(":")
    return getattr(importlib.import_module(module), name)

"""Commands of the benchmark: parse, call one function, print."""

from .surroundings import set_defaults

set_defaults()  # here, for it must come before anything that a command imports

"""Subcommands of `mender` that need no model."""

from .surroundings import set_defaults

set_defaults()  # before any import of a command

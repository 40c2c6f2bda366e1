"""Table of the paper's methods, and functions that build their models."""

"""The methods of the paper as rows of one table, and the functions that build their models."""

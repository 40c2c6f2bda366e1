"""Rankings of a model for requests, and for the rows of all axes."""

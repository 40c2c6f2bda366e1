"""Training: the table of methods, their arguments, batches, and one explicit Accelerate loop."""

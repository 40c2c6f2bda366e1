"""Training of the methods: arguments, losses, and one Accelerate loop."""

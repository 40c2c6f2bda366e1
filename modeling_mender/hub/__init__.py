"""What a checkpoint needs to be read by others: its card."""

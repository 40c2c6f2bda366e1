"""Load recommenders by name, fill their cards, and prepare their folders for the Hub."""

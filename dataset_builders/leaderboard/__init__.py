"""The way of a score onto a leaderboard: checked, sent to the model's repository, collected from there, and shown."""

"""Validate, submit, collect and render leaderboard scores."""

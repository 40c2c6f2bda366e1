"""Preferences of users in plain language: how they are approximated and matched to items."""

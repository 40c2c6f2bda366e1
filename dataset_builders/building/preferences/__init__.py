"""Preferences of users in natural language: approximation, and matching to items."""

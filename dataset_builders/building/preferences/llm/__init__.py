"""Preferences written by a language model (section 3.1, appendix C)."""

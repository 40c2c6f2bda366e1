"""Steering of recommendations to similar and distinct items (section 3.2, eq. 2 and 3)."""

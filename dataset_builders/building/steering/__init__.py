"""Steering: which item a preference steers to (section 3.2, eq. 2 and 3)."""

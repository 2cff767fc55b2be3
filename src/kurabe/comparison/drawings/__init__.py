"""Drawings of the one table; none of them computes anything that the table does not hold."""

"""Comparison: metrics, verdicts, the one table, and its drawings."""

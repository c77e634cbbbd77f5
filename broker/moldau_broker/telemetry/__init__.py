"""Metrics in one table, and logs: numbers and lines out of the process. Knows no component above `base`."""

"""Metrics in one table and JSON logs; the only place that imports prometheus_client."""

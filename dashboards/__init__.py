"""Grafana dashboards as code: what is shown, written once; `python -m dashboards` makes the JSON files beside it."""

"""Ids, limits, errors, settings tables and the clock: what every layer may use. No I/O here."""

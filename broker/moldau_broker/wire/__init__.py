"""Bytes to values and back. No I/O, no clock, no event loop here."""

"""Fakes and fixtures for tests, ours and other people's. Never imported by the broker itself."""

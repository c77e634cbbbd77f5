"""The moldau command: one verb per file."""

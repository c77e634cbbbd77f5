"""The moldau command: one verb per file. Only the console script and the tests import this package."""

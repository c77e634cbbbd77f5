"""The pytest plugin: a fresh broker as a fixture."""

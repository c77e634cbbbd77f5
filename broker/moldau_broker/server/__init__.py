"""Sockets and composition: the only layer that builds the others and runs the event loop's edges."""

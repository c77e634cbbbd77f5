"""In-memory stands-in for everything behind the seams, shipped so that every test uses the same ones. No I/O."""

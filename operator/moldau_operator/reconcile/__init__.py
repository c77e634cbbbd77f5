"""observe, plan, apply, status: the loop around the pure planners."""

"""(desired, observed) to reasoned actions. Pure: no I/O, no clock."""

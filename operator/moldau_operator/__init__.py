"""Custom resources in, running brokers out: pure plans, thin adapters."""

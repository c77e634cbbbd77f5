"""The operator in Kubernetes: watches wake it, passes reconcile, one process at a time holds the Lease."""

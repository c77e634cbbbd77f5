"""The hands: child processes and the Kafka admin protocol (later: the Kubernetes API)."""

"""An asyncio Kafka client and admin, for the operator, the CLI, brokers and tests."""

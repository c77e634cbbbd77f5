"""Speaks the Kafka protocol to brokers: connections, cluster metadata, admin, producing, consuming.

Used by the operator, the CLI, brokers and tests. No server code, no global state, no printing.
"""

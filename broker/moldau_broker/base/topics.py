"""Names of topics: the rules, and the ones that belong to the cluster itself. Pure."""

from __future__ import annotations

from typing import Final

CONSUMER_OFFSETS: Final = "__consumer_offsets"
TRANSACTION_STATE: Final = "__transaction_state"
CLUSTER_METADATA: Final = "__cluster_metadata"

INTERNAL_TOPICS: Final = frozenset({CONSUMER_OFFSETS, TRANSACTION_STATE})
"""Written by the coordinators alone, and marked internal in Metadata (`Topic.INTERNAL_TOPICS`)."""

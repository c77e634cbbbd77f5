"""What nodes have found damaged in their own metadata logs, each asked for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.admin_api_answers import MetadataDamage
from moldau_broker.client.cluster import Cluster
from moldau_cli.admin_http import ask_or_none, http_addresses

NodeDamage = Mapping[int, tuple[MetadataDamage, ...]]


async def ask_nodes(cluster: Cluster) -> NodeDamage:
    """By node, of those that have any; a node that does not answer is left out, and so is one without HTTP."""
    addresses = await http_addresses(cluster)
    answers = await asyncio.gather(*(ask_or_none(at, AdminApi.metadata_damage) for at in addresses.values()))
    return {node: damage for node, damage in zip(addresses, answers, strict=True) if damage}

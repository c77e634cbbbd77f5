"""Whether this node founds the cluster's quorum, or looks for one that is there.

A node with an empty folder may make itself the first voter only if it is the first of the listed controllers, and every
other one has said that it knows no quorum either. Whoever cannot be asked might know one: a founder that lost its disk
must not found a second cluster beside its own. All others begin as observers and are taken in by the leader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import ClientError
from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
    DescribeQuorumResponse,
)

logger = logging.getLogger(__name__)

Address = tuple[str, int]

RETRY_S: Final = 0.05
TIMEOUT_MS: Final = 1_000
_SAY_EVERY: Final = 100


async def is_founder(
    servers: Sequence[Address], own: Sequence[Address], say: Callable[[str | None], None]
) -> bool:
    """Whether to found the quorum; may wait long for nodes that cannot be asked, and says so.

    Args:
        servers: the controllers' addresses as configured.
        own: this node's advertised controller addresses.
        say: told what is waited for; None when nothing is.
    """
    if not servers or set(servers) <= set(own):
        return True
    if servers[0] not in own:
        return False
    others = [server for server in servers if server not in own]
    attempt = 0
    while others:
        verdicts = await asyncio.gather(*(_knows_quorum(server) for server in others))
        if any(verdicts):
            say(None)
            return False
        others = [server for server, knows in zip(others, verdicts, strict=True) if knows is None]
        if others:
            names = ", ".join(f"{host}:{port}" for host, port in others)
            text = f"to found the quorum, {names} must say first that it knows none"
            say(text)
            if attempt % _SAY_EVERY == 1:
                logger.warning("quorum.waits", extra={"reason": text})
            attempt += 1
            await asyncio.sleep(RETRY_S)
    say(None)
    return True


async def _knows_quorum(server: Address) -> bool | None:
    """Whether that controller knows a quorum, None when it does not say."""
    config = ClientConfig(client_id="founder", connect_timeout_ms=TIMEOUT_MS, request_timeout_ms=TIMEOUT_MS)
    try:
        connection = await Connection.open(*server, config)
    except ClientError:
        return None
    partition_asked = DescribeQuorumRequestPartitionData(partition_index=PARTITION)
    topic = DescribeQuorumRequestTopicData(topic_name=TOPIC, partitions=(partition_asked,))
    try:
        answer = await connection.request(DescribeQuorumRequest(topics=(topic,)), DescribeQuorumResponse)
    except ClientError:
        return None
    finally:
        connection.close()
    if answer.error_code or not answer.topics:
        return None
    (partition,) = answer.topics[0].partitions
    return partition.leader_epoch > 0 or partition.leader_id >= 0 or bool(answer.nodes)

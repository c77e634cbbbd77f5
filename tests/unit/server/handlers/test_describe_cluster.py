"""DescribeCluster. Held against what an Apache Kafka 4.3.1 broker answered to the same requests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moldau_broker.server.handlers import describe_cluster
from moldau_broker.testing.handlers import NodeBench, call, versions
from moldau_broker.wire.messages.describe_cluster import DescribeClusterRequest


@pytest.fixture
async def node() -> AsyncIterator[NodeBench]:
    async with NodeBench("broker.rack=r1").running() as node:
        yield node


@pytest.mark.parametrize("version", versions(describe_cluster.HANDLER))
async def test_describe_cluster_names_brokers_and_controller(node: NodeBench, version: int) -> None:
    """As Metadata does."""
    response = await call(describe_cluster.HANDLER, node.broker, DescribeClusterRequest(), version)
    assert (response.error_code, response.error_message) == (0, None)
    assert (response.cluster_id, response.controller_id) == (node.bench.cluster_id, 1)
    (broker,) = response.brokers
    assert (broker.broker_id, broker.host, broker.port, broker.rack) == (1, "127.0.0.1", 9092, "r1")
    assert not broker.is_fenced
    assert response.endpoint_type == 1
    assert response.cluster_authorized_operations == -(2**31)


async def test_describe_cluster_tells_authorized_operations_when_asked(node: NodeBench) -> None:
    """All of them, as there is no authorizer."""
    request = DescribeClusterRequest(include_cluster_authorized_operations=True)
    response = await call(describe_cluster.HANDLER, node.broker, request)
    assert response.cluster_authorized_operations == 8096


@pytest.mark.parametrize(("kind", "error"), [(2, 114), (0, 115), (9, 115)])
@pytest.mark.parametrize("version", [1, 2])
async def test_describe_cluster_of_other_endpoints_is_refused(
    node: NodeBench, version: int, kind: int, error: int
) -> None:
    """Controllers are asked on their own listener; other types do not exist (KIP-919)."""
    response = await call(
        describe_cluster.HANDLER, node.broker, DescribeClusterRequest(endpoint_type=kind), version
    )
    assert response.error_code == error
    assert response.error_message
    assert (list(response.brokers), response.controller_id, response.cluster_id) == ([], -1, "")


async def test_describe_cluster_shows_fenced_brokers_when_asked(node: NodeBench) -> None:
    """Since v2; without the flag they are not there."""
    image = node.bench.publisher.image
    fenced = image.brokers[1]._replace(id=2, fenced=True)
    node.bench.publisher.publish(image._replace(brokers={**image.brokers, 2: fenced}))
    for wanted, expected in ((False, [(1, False)]), (True, [(1, False), (2, True)])):
        request = DescribeClusterRequest(include_fenced_brokers=wanted)
        response = await call(describe_cluster.HANDLER, node.broker, request)
        assert [(one.broker_id, one.is_fenced) for one in response.brokers] == expected

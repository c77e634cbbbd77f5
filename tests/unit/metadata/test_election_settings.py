"""Settings that elections go by, changed while partitions live under the old ones."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import NO_LEADER, RECOVERING, ResourceType
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)


def alter(cluster: ControlBench, kind: ResourceType, resource: str, name: str, value: str) -> None:
    response = cluster.ask(
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        IncrementalAlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=kind,
                    resource_name=resource,
                    configs=[AlterableConfig(name=name, value=value)],
                )
            ]
        ),
    )
    assert response.responses[0].error_code == ErrorCode.NONE, response


@pytest.fixture
def cluster() -> ControlBench:
    """Topic t with one of two needed replicas in sync, and one eligible; topic u likewise by the cluster's setting."""
    bench = ControlBench()
    bench.add_brokers(1, 2)
    alter(bench, ResourceType.BROKER, "", "min.insync.replicas", "2")
    bench.create_topic("t", [[1, 2]], min_insync_replicas="2")
    bench.create_topic("u", [[1, 2]])
    bench.kill(2)
    assert bench.partition("t").elr == bench.partition("u").elr == (2,)
    return bench


def test_elr_ends_when_the_isr_becomes_large_enough_by_a_setting(cluster: ControlBench) -> None:
    """From then on the high watermark moves, and who is not in sync misses it."""
    alter(cluster, ResourceType.TOPIC, "t", "min.insync.replicas", "1")
    assert cluster.partition("t").elr == ()
    assert cluster.partition("u").elr == (2,)
    alter(cluster, ResourceType.BROKER, "", "min.insync.replicas", "1")
    assert cluster.partition("u").elr == ()


def test_elr_of_a_partition_without_leader_outlives_the_setting(cluster: ControlBench) -> None:
    """Nothing is committed while nobody leads, so its members still have everything."""
    cluster.kill(1)
    alter(cluster, ResourceType.TOPIC, "t", "min.insync.replicas", "1")
    assert cluster.partition("t").elr == (2, 1)
    cluster.restart(2, clean=True)
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.elr) == (2, (2,), ())


def test_unclean_elections_happen_when_they_are_allowed(cluster: ControlBench) -> None:
    """A partition that waits for its leader gets one with the setting, not with the next death."""
    cluster.kill(1)
    cluster.restart(2)
    assert cluster.partition("t").leader == NO_LEADER
    alter(cluster, ResourceType.TOPIC, "t", "unclean.leader.election.enable", "true")
    after = cluster.partition("t")
    assert (after.leader, after.leader_recovery_state) == (2, RECOVERING)
    assert cluster.partition("u").leader == NO_LEADER


def test_reassignment_that_waited_for_in_sync_replicas_completes_by_a_setting(cluster: ControlBench) -> None:
    """One stays in sync, and one is enough now."""
    cluster.create_topic("v", [[1, 2]], min_insync_replicas="2")
    cluster.restart(2, clean=True)
    cluster.alter_isr("v", [1, 2])
    move = ReassignablePartition(partition_index=0, replicas=[2, 3])
    cluster.add_brokers(3)
    cluster.ask(
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        AlterPartitionReassignmentsRequest(topics=[ReassignableTopic(name="v", partitions=[move])]),
    )
    cluster.alter_isr("v", [1, 3])
    assert cluster.partition("v").removing == (1,)
    alter(cluster, ResourceType.TOPIC, "v", "min.insync.replicas", "1")
    after = cluster.partition("v")
    assert (after.replicas, after.isr, after.leader) == ((2, 3), (3,), 3)


def test_validated_settings_change_no_partition(cluster: ControlBench) -> None:
    """A dry run elects nobody."""
    before = cluster.image
    cluster.ask(
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        IncrementalAlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=ResourceType.TOPIC,
                    resource_name="t",
                    configs=[AlterableConfig(name="min.insync.replicas", value="1")],
                )
            ],
            validate_only=True,
        ),
    )
    assert cluster.image is before

"""Where a topic's partitions should live at another replication factor: the operator's planner, asked by hand."""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.errors import RequestFailed
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.context import Target
from moldau_operator.adapters.brokers import KafkaAdmin
from moldau_operator.adapters.off_loop import off_loop
from moldau_operator.errors import AdminError
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.plan.factors import plan_factors
from moldau_operator.plan.partitions import see
from moldau_operator.plan.topic_replicas import Places, plan_replicas


async def plan_by_hand(target: Target, name: str, factor: int) -> dict[TopicPartition, tuple[int, ...]]:
    """The brokers of every partition that has to change; the first is its preferred leader.

    Raises:
        RequestFailed: there is no such topic, or brokers, racks or disks do not allow it.
    """
    admin = KafkaAdmin(lambda: target.bootstrap, config=target.config)
    try:
        view, topics = await admin.describe_cluster(), await admin.list_topics()
        moves, sizes = await admin.list_moves(), await admin.replica_bytes()
    except AdminError as error:
        raise RequestFailed(error.code, f"topic {name}", str(error)) from error
    finally:
        await admin.close()
    if name not in topics:
        raise RequestFailed(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {name}", "there is no such topic")
    if factor > len(view.broker_ids):
        words = f"{factor} replicas need {factor} brokers, and {len(view.broker_ids)} are up"
        raise RequestFailed(ErrorCode.INVALID_REPLICATION_FACTOR, f"topic {name}", words)
    topic = topics[name]
    wanted = {
        (name, number): factor for number, one in enumerate(topic.placement) if len(one.replicas) != factor
    }
    ask = ClusterFacts(brokers=len(view.broker_ids), config={}).ask(wanted, view)
    plan = await off_loop(plan_factors, see(topics, sizes, {}, moves), ask)
    stage = plan_replicas(topic, factor, Places(open=len(view.broker_ids), plan=plan, room=len(wanted)))
    if stage.refusal or plan.crowded or plan.full:
        words = stage.refusal or f"{len(plan.crowded) + len(plan.full)} partitions find no home"
        raise RequestFailed(ErrorCode.INVALID_REPLICATION_FACTOR, f"topic {name}", words)
    return {TopicPartition(*place): replicas for place, replicas in stage.targets.items()}

"""Bytes a second that moves of replicas may take, as Kafka's settings say it. Pure.

Four settings make a throttle: a rate for what brokers send and one for what they take, given to all brokers while they
run, and for each topic the replicas it holds for. The rates are given before the first move and taken back after the
topics' settings, so whoever finds a rate that nobody declared knows that there is something to clean up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from moldau_operator.seams.broker_admin import ConfigChange, Partition, TopicView

LEADER_REPLICAS: Final = "leader.replication.throttled.replicas"
FOLLOWER_REPLICAS: Final = "follower.replication.throttled.replicas"
THROTTLED: Final = frozenset({LEADER_REPLICAS, FOLLOWER_REPLICAS})
"""Settings of a topic that say what is going on, not what is wanted: their presence is no drift."""
RATES: Final = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")


def throttled_topics(
    moving: Mapping[Partition, Collection[int]], topics: Mapping[str, TopicView]
) -> dict[str, dict[str, str]]:
    """The settings each topic should have while these brokers are being added to these partitions."""
    found: dict[str, dict[str, list[str]]] = {}
    for (name, number), adding in sorted(moving.items()):
        topic = topics.get(name)
        if topic is None or number >= len(topic.placement):
            continue
        settings = found.setdefault(name, {LEADER_REPLICAS: [], FOLLOWER_REPLICAS: []})
        holding = [broker for broker in topic.placement[number].replicas if broker not in adding]
        settings[LEADER_REPLICAS] += [f"{number}:{broker}" for broker in holding]
        settings[FOLLOWER_REPLICAS] += [f"{number}:{broker}" for broker in sorted(adding)]
    return {
        name: {key: ",".join(places) for key, places in settings.items()} for name, settings in found.items()
    }


def topic_changes(
    wanted: Mapping[str, Mapping[str, str]], observed: Mapping[str, TopicView], ours: Collection[str]
) -> dict[str, ConfigChange]:
    """What brings topics to the throttles they should have.

    Args:
        observed: with their overrides; only these are changed.
        ours: topics whose throttles are ours to take away.
    """
    changes: dict[str, ConfigChange] = {}
    for name, topic in observed.items():
        there = {key: value for key, value in topic.overrides.items() if key in THROTTLED}
        want = wanted.get(name, {})
        to_set = {key: value for key, value in want.items() if _places(there.get(key)) != _places(value)}
        to_remove = tuple(sorted(there.keys() - want.keys())) if name in ours or want else ()
        if to_set or to_remove:
            changes[name] = ConfigChange(set=to_set, remove=to_remove)
    return changes


def rate_change(
    rate: int | None, overrides: Mapping[str, str], declared: Collection[str]
) -> ConfigChange | None:
    """What gives all brokers this rate, or (None) takes it back; None where nothing is to be done.

    Args:
        overrides: what all brokers were given while they run.
        declared: settings that the Cluster's own `config` gives; those are never touched.
    """
    names = [name for name in RATES if name not in declared]
    if rate is None:
        gone = tuple(name for name in names if name in overrides)
        return ConfigChange(remove=gone) if gone else None
    wrong = {name: str(rate) for name in names if overrides.get(name) != str(rate)}
    return ConfigChange(set=wrong) if wrong else None


def _places(text: str | None) -> frozenset[str]:
    return frozenset(part for part in (text or "").split(",") if part)


def topics_of(partitions: Sequence[Partition]) -> list[str]:
    """The topics of these partitions, each once."""
    return sorted({place.topic for place in partitions})

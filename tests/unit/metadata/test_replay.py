"""Replaying records: each kind, and records that cannot be."""

from __future__ import annotations

import pytest

from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.errors import InvalidMetadataRecord
from moldau_broker.metadata.image import MetadataImage, PartitionImage, VersionRange
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.schema import Struct

T1, T2, D1, D2 = (Uuid(bytes([i]) * 16) for i in (1, 2, 11, 12))
EMPTY = MetadataImage("cluster")


def replayed(*some: Struct, base: MetadataImage = EMPTY) -> MetadataImage:
    replay = ImageReplay(base)
    for record in some:
        replay.replay(record)
    return replay.image(base.offset + len(some), 1)


def topic(name: str = "t", topic_id: Uuid = T1) -> records.TopicRecord:
    return records.TopicRecord(name=name, topic_id=topic_id)


def partition(index: int = 0, topic_id: Uuid = T1, **fields: object) -> records.PartitionRecord:
    values = {
        "replicas": [1, 2],
        "isr": [1, 2],
        "leader": 1,
        "leader_epoch": 0,
        "partition_epoch": 0,
        "directories": [D1, D2],
    }
    return records.PartitionRecord(partition_id=index, topic_id=topic_id, **{**values, **fields})  # type: ignore[arg-type]


def change(index: int = 0, topic_id: Uuid = T1, **fields: object) -> records.PartitionChangeRecord:
    return records.PartitionChangeRecord(partition_id=index, topic_id=topic_id, **fields)  # type: ignore[arg-type]


def register(broker_id: int = 1, epoch: int = 5, **fields: object) -> records.RegisterBrokerRecord:
    return records.RegisterBrokerRecord(broker_id=broker_id, broker_epoch=epoch, **fields)  # type: ignore[arg-type]


ONE = replayed(topic(), partition())
THE_PARTITION = ONE.topics["t"].partitions[0]


def test_replay_creates_topics_under_name_and_id() -> None:
    """Both keys lead to the same topic."""
    assert ONE.topics["t"] is ONE.topics_by_id[T1]
    assert ONE.topics["t"].partitions == (
        PartitionImage((1, 2), (D1, D2), (1, 2), leader=1, leader_epoch=0, partition_epoch=0),
    )
    assert ONE.offset == 1


def test_replay_leaves_its_base_alone_and_shares_what_did_not_change() -> None:
    """An old image stays what it was; unchanged topics are the same objects."""
    two = replayed(topic("u", T2), base=ONE)
    assert set(ONE.topics) == {"t"}
    assert set(two.topics) == {"t", "u"}
    assert two.topics["t"] is ONE.topics["t"]
    assert two.brokers is ONE.brokers


def test_replay_partition_change_keeps_what_it_does_not_name() -> None:
    """Absent fields mean unchanged; every change adds one to the partition epoch.

    Reference: KIP-631, PartitionChangeRecord.
    """
    changed = replayed(change(isr=[1]), base=ONE).topics["t"].partitions[0]
    assert changed == THE_PARTITION._replace(isr=(1,), partition_epoch=1)


@pytest.mark.parametrize("leader", [2, -1, 1])
def test_replay_leader_change_adds_a_leader_epoch(leader: int) -> None:
    """Another leader, none, or the same one again: a new epoch in each case."""
    changed = replayed(change(leader=leader), base=ONE).topics["t"].partitions[0]
    assert (changed.leader, changed.leader_epoch, changed.partition_epoch) == (leader, 1, 1)


def test_replay_reassignment_keeps_known_directories() -> None:
    """New replicas without a directory are unassigned, the others keep theirs (KIP-858)."""
    changed = replayed(change(replicas=[2, 3, 1], adding_replicas=[3]), base=ONE).topics["t"].partitions[0]
    assert changed.directories == (D2, NULL_UUID, D1)
    assert changed.adding == (3,)
    assigned = replayed(change(directories=[D1, D1]), base=ONE).topics["t"].partitions[0]
    assert assigned.directories == (D1, D1)


def test_replay_keeps_elr_and_recovery_state() -> None:
    """Eligible leader replicas and the recovery state come and go by their own fields (KIP-966, KIP-704)."""
    left = replayed(
        change(isr=[], leader=-1, eligible_leader_replicas=[1], last_known_elr=[2], leader_recovery_state=1),
        base=ONE,
    )
    after = left.topics["t"].partitions[0]
    assert (after.elr, after.last_known_elr, after.leader_recovery_state) == ((1,), (2,), 1)
    cleared = replayed(records.ClearElrRecord(topic_name="t"), base=left).topics["t"].partitions[0]
    assert (cleared.elr, cleared.last_known_elr) == ((), ())
    everywhere = replayed(records.ClearElrRecord(topic_name=""), base=left).topics["t"].partitions[0]
    assert everywhere.elr == ()


def test_replay_removing_a_topic_removes_its_settings() -> None:
    """Settings die with their topic; a namesake begins without them and with its own id."""
    setting = records.ConfigRecord(resource_type=2, resource_name="t", name="retention.ms", value="5")
    with_setting = replayed(setting, base=ONE)
    assert with_setting.config(2, "t") == {"retention.ms": "5"}
    gone = replayed(records.RemoveTopicRecord(topic_id=T1), base=with_setting)
    assert (gone.topics, gone.topics_by_id, gone.configs) == ({}, {}, {})
    again = replayed(records.RemoveTopicRecord(topic_id=T1), topic("t", T2), base=with_setting)
    assert again.topics["t"].topic_id == T2
    assert set(again.topics_by_id) == {T2}
    assert again.config(2, "t") == {}


def test_replay_topic_created_and_removed_in_one_go_leaves_nothing() -> None:
    """As if it had never been, and its name is free."""
    image = replayed(topic(), partition(), records.RemoveTopicRecord(topic_id=T1), topic("t", T2))
    assert image.topics["t"].topic_id == T2
    assert set(image.topics_by_id) == {T2}


def test_replay_null_config_value_deletes_the_setting() -> None:
    """A resource without settings is not listed."""
    key = {"resource_type": 4, "resource_name": "1", "name": "log.retention.ms"}
    image = replayed(records.ConfigRecord(**key, value="1"))
    assert image.broker_settings(1) == {"log.retention.ms": "1"}
    assert replayed(records.ConfigRecord(**key, value=None), base=image).configs == {}


def test_replay_own_broker_settings_win_over_cluster_wide_ones() -> None:
    """The empty resource name is everybody's."""
    image = replayed(
        records.ConfigRecord(resource_type=4, resource_name="", name="a", value="all"),
        records.ConfigRecord(resource_type=4, resource_name="", name="b", value="all"),
        records.ConfigRecord(resource_type=4, resource_name="1", name="b", value="one"),
    )
    assert image.broker_settings(1) == {"a": "all", "b": "one"}
    assert image.broker_settings(2) == {"a": "all", "b": "all"}


def test_replay_broker_life() -> None:
    """Registered fenced, unfenced, leaving, gone."""
    endpoint = records.BrokerEndpoint(name="CLIENT", host="h", port=9092)
    feature = records.BrokerFeature(
        name="metadata.version", min_supported_version=1, max_supported_version=30
    )
    image = replayed(register(end_points=[endpoint], features=[feature], rack="r", log_dirs=[D1]))
    broker = image.brokers[1]
    assert (broker.epoch, broker.fenced, broker.rack, broker.directories) == (5, True, "r", (D1,))
    assert broker.endpoints["CLIENT"].port == 9092
    assert broker.features["metadata.version"] == VersionRange(1, 30)
    assert not broker.active
    image = replayed(
        records.BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=5, fenced=-1), base=image
    )
    assert image.brokers[1].active
    image = replayed(
        records.BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=5, in_controlled_shutdown=1),
        base=image,
    )
    assert not image.brokers[1].active
    assert not image.brokers[1].fenced
    assert replayed(records.UnregisterBrokerRecord(broker_id=1, broker_epoch=5), base=image).brokers == {}


def test_replay_features_come_and_go() -> None:
    """Level 0 is absence; kraft.version comes from the quorum's own records."""
    image = replayed(records.FeatureLevelRecord(name="metadata.version", feature_level=30))
    assert image.features == {"metadata.version": 30}
    replay = ImageReplay(image)
    replay.set_kraft_version(1)
    assert replay.image(9, 1).features == {"metadata.version": 30, "kraft.version": 1}
    gone = replayed(records.FeatureLevelRecord(name="metadata.version", feature_level=0), base=image)
    assert gone.features == {}


def test_replay_noop_changes_only_the_offset() -> None:
    """Nothing else is even copied."""
    after = replayed(records.NoOpRecord(), base=ONE)
    assert after == ONE._replace(offset=2)
    assert after.topics is ONE.topics


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (topic("t", T2), "created twice"),
        (topic("u", T1), "reuses the id"),
        (partition(2), "comes before partition 1"),
        (partition(0, T2), "does not exist"),
        (partition(1, directories=[D1]), "one directory per replica"),
        (change(7), "does not exist"),
        (change(0, T2), "does not exist"),
        (records.RemoveTopicRecord(topic_id=T2), "does not exist"),
        (records.ClearElrRecord(topic_name="u"), "does not exist"),
        (records.BrokerRegistrationChangeRecord(broker_id=3, broker_epoch=5), "not registered"),
        (records.UnregisterBrokerRecord(broker_id=3, broker_epoch=5), "not registered"),
        (records.AccessControlEntryRecord(), "does not understand"),
        (records.BeginTransactionRecord(), "does not understand"),
    ],
)
def test_replay_refuses_what_contradicts_the_state(record: Struct, text: str) -> None:
    """A log that does not add up is not guessed at."""
    with pytest.raises(InvalidMetadataRecord, match=text):
        replayed(record, base=ONE)


def test_replay_refuses_a_stale_broker_epoch() -> None:
    """A change meant for an older incarnation."""
    with pytest.raises(InvalidMetadataRecord, match="at epoch 4, which is registered at 5"):
        replayed(register(), records.BrokerRegistrationChangeRecord(broker_id=1, broker_epoch=4, fenced=-1))


def test_replay_refuses_producer_ids_that_go_back() -> None:
    """Ids handed out once are never handed out again."""
    forward = replayed(records.ProducerIdsRecord(next_producer_id=2000))
    assert forward.producer_ids == 2000
    with pytest.raises(InvalidMetadataRecord, match="goes back"):
        replayed(records.ProducerIdsRecord(next_producer_id=1000), base=forward)

"""The Topic resource. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from moldau_broker.base.config_types import SettingError
from moldau_broker.base.topic_config import TOPIC_SETTINGS, validate_topic_setting
from moldau_operator.names import did_you_mean, object_name_problem, topic_name_problem
from moldau_operator.resources.fields import Fields
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind, Metadata, read_metadata

PARTITIONS_MAX: Final = 100_000
"""The largest cluster planned for; the brokers have a lower limit of their own per node."""

REPLICAS_MAX: Final = 32_767
"""int16 on the wire."""


class AdoptionPolicy(StrEnum):
    """What to do with a topic that was there before its resource."""

    ADOPT = "Adopt"
    REFUSE = "Refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic should be.

    Attributes:
        cluster: the Cluster's name, in the same namespace.
        topic_name: the topic's name in Kafka; defaults to metadata.name; immutable.
        partitions: None leaves the number to the cluster's num.partitions.
        replicas: replication factor; None leaves it to the cluster's default.replication.factor.
        config: topic settings as text; everything not named here has the cluster's default.
        deletion_policy: what happens to the topic when the resource goes.
        adoption_policy: what to do with a topic that was there first.
        recreate: whether a topic deleted behind the resource is made again, empty.
    """

    cluster: str
    topic_name: str
    partitions: int | None = None
    replicas: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    adoption_policy: AdoptionPolicy = AdoptionPolicy.ADOPT
    recreate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A declared topic."""

    metadata: Metadata
    spec: TopicSpec

    @property
    def key(self) -> Key:
        """Its identity."""
        return Key(Kind.TOPIC, self.metadata.namespace, self.metadata.name)


def read_topic(resource: Fields) -> Topic:
    """A Topic from the fields of its document; problems go where `resource` collects them."""
    metadata_fields, spec_fields = resource.fields("metadata"), resource.fields("spec")
    metadata = read_metadata(metadata_fields) if metadata_fields else Metadata(name="")
    if spec_fields is None:
        return Topic(metadata=metadata, spec=TopicSpec(cluster="", topic_name=metadata.name))
    topic_name = spec_fields.text("topicName", topic_name_problem)
    if topic_name is None:
        topic_name = metadata.name
        if metadata_fields and not spec_fields.has("topicName") and topic_name:
            words = topic_name_problem(topic_name)
            if words:
                metadata_fields.wrong("name", f"{topic_name[:60]!r} {words}, or give spec.topicName")
    spec = TopicSpec(
        cluster=spec_fields.required_text(
            "cluster", "the name of the Cluster it belongs to", object_name_problem
        ),
        topic_name=topic_name,
        partitions=spec_fields.whole("partitions", 1, PARTITIONS_MAX),
        replicas=spec_fields.whole("replicas", 1, REPLICAS_MAX),
        config=spec_fields.settings("config", topic_setting_problem),
        deletion_policy=spec_fields.choice("deletionPolicy", DeletionPolicy.RETAIN),
        adoption_policy=spec_fields.choice("adoptionPolicy", AdoptionPolicy.ADOPT),
        recreate=spec_fields.flag("recreate"),
    )
    if spec.replicas is not None:
        min_isr = spec.config.get("min.insync.replicas")
        if min_isr is not None and int(min_isr) > spec.replicas:
            spec_fields.wrong(
                "config",
                f"min.insync.replicas is {min_isr} but replicas is {spec.replicas}: every acks=all write "
                f"would be refused; set it to {max(spec.replicas - 1, 1)}",
            )
    spec_fields.done()
    return Topic(metadata=metadata, spec=spec)


def topic_setting_problem(name: str, text: str) -> str | None:
    """Why topic setting `name` cannot be `text`, in words that say what to do; None when it can."""
    if name not in TOPIC_SETTINGS:
        return f"{name[:60]} is not a topic setting{did_you_mean(name, TOPIC_SETTINGS)}"
    return validate_topic_setting(name, text)


def same_setting(name: str, one: str, other: str) -> bool:
    """Whether two texts of a setting mean the same ("TRUE" and "true", "1000" and " 1000")."""
    if one == other:
        return True
    setting = TOPIC_SETTINGS.get(name)
    if setting is None:
        return False
    try:
        first, second = setting.parse(one), setting.parse(other)
    except SettingError:
        return False
    if isinstance(first, tuple) and isinstance(second, tuple):
        return sorted(first) == sorted(second)
    return first == second

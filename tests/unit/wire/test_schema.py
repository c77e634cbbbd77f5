"""What a message class is: frozen, keyword-only, every field with the schema's default."""

from __future__ import annotations

import pytest

from moldau_broker.wire.messages.fetch import FetchRequest, FetchTopic, ReplicaState
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.produce import ProduceRequest
from moldau_broker.wire.schema import fields_of, replace


def test_struct_fields_have_the_schemas_defaults() -> None:
    """Every field may be left out."""
    request = FetchRequest()
    assert (request.replica_id, request.max_bytes, request.session_epoch) == (-1, 2**31 - 1, -1)
    assert request.replica_state == ReplicaState(replica_id=-1, replica_epoch=-1)
    assert list(request.topics) == []


def test_struct_is_frozen() -> None:
    """Neither a constructed nor a nested value can be changed or grown."""
    request = ProduceRequest(acks=1)
    with pytest.raises(AttributeError, match="frozen"):
        request.acks = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del request.acks
    with pytest.raises(AttributeError):
        request.other = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        object.__setattr__(request, "other", 1)
    assert request.acks == 1


def test_struct_takes_keywords_of_its_fields_only() -> None:
    """Positions and unknown names are programmer errors, on the first construction as on every other."""
    for _ in range(2):
        with pytest.raises(TypeError):
            MetadataRequestTopic(b"name")  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            MetadataRequestTopic(nam="name")  # type: ignore[call-arg]
        assert MetadataRequestTopic(name="a").name == "a"


def test_struct_equality_does_not_tell_lists_from_tuples() -> None:
    """Arrays decode as lists and default to tuples; neither matters to equality, at any depth."""
    one = MetadataRequest(topics=[MetadataRequestTopic(name="a")])
    two = MetadataRequest(topics=(MetadataRequestTopic(name="a"),))
    assert one == two
    assert hash(one) == hash(two)
    assert one != MetadataRequest(topics=None)
    assert one != replace(one, allow_auto_topic_creation=False)
    assert FetchTopic() != MetadataRequestTopic()


def test_struct_repr_names_every_field() -> None:
    """What a log line or a failing test shows can be read."""
    assert repr(ReplicaState(replica_id=3)) == "ReplicaState(replica_id=3, replica_epoch=-1)"


def test_replace_changes_some_fields() -> None:
    """A copy differs in what was asked for and nothing else."""
    request = ProduceRequest(acks=-1, timeout_ms=5)
    assert replace(request, acks=1) == ProduceRequest(acks=1, timeout_ms=5)
    assert request.acks == -1


def test_fields_know_the_versions_that_carry_them() -> None:
    """`since`, `until` and `nullable_since` bound a field."""
    fields = {field.name: field for field in fields_of(MetadataRequestTopic)}
    assert [fields["topic_id"].carried(version) for version in (9, 10)] == [False, True]
    assert [fields["name"].nullable(version) for version in (9, 10)] == [False, True]

"""A change of settings is decided whole: the edits to write, or one reason why nothing is written."""

import pytest

from moldau_broker.base.config_changes import (
    ConfigChange,
    ConfigOperation,
    ConfigProblem,
    change_broker,
    change_group,
    change_topic,
    replacing,
)
from moldau_broker.base.errors import ErrorCode

SET, DELETE, APPEND, SUBTRACT = ConfigOperation


def _change(name, value, operation=SET):
    return ConfigChange(name, operation, value)


@pytest.mark.parametrize(
    ("current", "change", "edits"),
    [
        ({}, _change("retention.ms", " 5 "), {"retention.ms": "5"}),
        ({"retention.ms": "5"}, _change("retention.ms", "+5"), {}),
        ({"retention.ms": "5"}, _change("retention.ms", None, DELETE), {"retention.ms": None}),
        ({}, _change("retention.ms", None, DELETE), {}),
        ({}, _change("no.such", None, DELETE), {}),
        ({"no.such": "1"}, _change("no.such", None, DELETE), {"no.such": None}),
        ({}, _change("cleanup.policy", "compact", APPEND), {"cleanup.policy": "delete,compact"}),
        ({"cleanup.policy": "compact"}, _change("cleanup.policy", "compact", APPEND), {}),
        (
            {"cleanup.policy": "compact,delete"},
            _change("cleanup.policy", "delete", SUBTRACT),
            {"cleanup.policy": "compact"},
        ),
        (
            {"cleanup.policy": "compact"},
            _change("cleanup.policy", "compact", SUBTRACT),
            {"cleanup.policy": ""},
        ),
        ({"cleanup.policy": "compact"}, _change("cleanup.policy", "delete", SUBTRACT), {}),
        ({}, _change("preallocate", "False"), {"preallocate": "false"}),
    ],
)
def test_topic_change_gives_edits(current, change, edits):
    """Values are stored in their plain form; what stays the same is not written; lists start from the default.

    Reference: KIP-339.
    """
    assert change_topic(current, [change], {}) == edits


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ([_change("no.such", "1")], ErrorCode.INVALID_CONFIG),
        ([_change("", "1")], ErrorCode.INVALID_CONFIG),
        ([_change("retention.ms", "-2")], ErrorCode.INVALID_CONFIG),
        ([_change("retention.ms", "5", APPEND)], ErrorCode.INVALID_CONFIG),
        ([_change("no.such", "5", SUBTRACT)], ErrorCode.INVALID_CONFIG),
        ([_change("cleanup.policy", "shred", APPEND)], ErrorCode.INVALID_CONFIG),
        ([_change("remote.storage.enable", "true")], ErrorCode.INVALID_CONFIG),
        ([_change("leader.replication.throttled.replicas", "0:1", APPEND)], ErrorCode.INVALID_CONFIG),
        ([_change("retention.ms", None)], ErrorCode.INVALID_REQUEST),
        ([_change("cleanup.policy", None, APPEND)], ErrorCode.INVALID_REQUEST),
        ([_change("retention.ms", "1", 9)], ErrorCode.INVALID_REQUEST),
        ([_change("retention.ms", "1"), _change("retention.ms", "2")], ErrorCode.INVALID_REQUEST),
        ([_change("retention.ms", "1"), _change("segment.ms", "x")], ErrorCode.INVALID_CONFIG),
        (
            [_change("min.compaction.lag.ms", "9"), _change("max.compaction.lag.ms", "8")],
            ErrorCode.INVALID_CONFIG,
        ),
        ([_change("cleanup.policy", "delete," * 10_000 + "delete")], ErrorCode.INVALID_CONFIG),
    ],
)
def test_topic_change_is_refused(changes, error):
    """One bad wish refuses the resource's whole change, with the code a 4.3 broker answers."""
    problem = change_topic({}, changes, {})
    assert isinstance(problem, ConfigProblem)
    assert problem.error is error
    assert 10 < len(problem.message) < 400


def test_topic_change_combines_with_what_is_set():
    """A value that only the present settings contradict is refused too."""
    problem = change_topic({"max.compaction.lag.ms": "8"}, [_change("min.compaction.lag.ms", "9")], {})
    assert isinstance(problem, ConfigProblem)
    assert change_topic(
        {"max.compaction.lag.ms": "8"}, [_change("max.compaction.lag.ms", None, DELETE)], {}
    ) == {"max.compaction.lag.ms": None}


def test_topic_change_tolerates_foreign_settings():
    """Settings that came with another version's data do not stand in the way of a change."""
    current = {"message.format.version": "2.8", "preallocate": "true"}
    assert change_topic(current, [_change("retention.ms", "5")], {}) == {"retention.ms": "5"}


@pytest.mark.parametrize("node", ["1", ""])
def test_broker_change_of_a_dynamic_setting(node):
    """Dynamic settings change for one broker and for all."""
    assert change_broker({}, [_change("log.retention.ms", "777")], node=node) == {"log.retention.ms": "777"}
    assert change_broker(
        {"log.retention.ms": "777"}, [_change("log.retention.ms", None, DELETE)], node=node
    ) == {"log.retention.ms": None}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("log.retention.hours", "1", ErrorCode.INVALID_REQUEST),
        ("node.id", "5", ErrorCode.INVALID_REQUEST),
        ("log.retention.ms", "x", ErrorCode.INVALID_REQUEST),
        ("max.connections.per.ip.overrides", "nonsense", ErrorCode.INVALID_REQUEST),
        ("num.io.threads", "9", ErrorCode.INVALID_CONFIG),
        ("unclean.leader.election.enable", "true", ErrorCode.INVALID_CONFIG),
        ("log.retention.mss", "9", ErrorCode.INVALID_CONFIG),
        ("ssl.keystore.location", "x", ErrorCode.INVALID_CONFIG),
    ],
)
def test_broker_change_is_refused(name, value, error):
    """Fixed at start, out of bounds, without effect, or unknown: never silently accepted."""
    problem = change_broker({}, [_change(name, value)], node="1")
    assert isinstance(problem, ConfigProblem)
    assert problem.error is error


def test_group_change_is_refused_but_default_and_removal_pass():
    """No group setting is acted on, so none can be changed from its default."""
    refused = change_group({}, [_change("consumer.session.timeout.ms", "50000")])
    assert isinstance(refused, ConfigProblem)
    assert refused.error is ErrorCode.INVALID_CONFIG
    assert isinstance(change_group({}, [_change("foo", "1")]), ConfigProblem)
    assert isinstance(change_group({}, [_change("consumer.session.timeout.ms", "0")]), ConfigProblem)
    assert change_group({}, [_change("consumer.session.timeout.ms", "45000")]) == {
        "consumer.session.timeout.ms": "45000"
    }
    assert change_group(
        {"share.isolation.level": "read_committed"}, [_change("share.isolation.level", None, DELETE)]
    ) == {"share.isolation.level": None}


def test_replacing_removes_what_is_not_wanted():
    """AlterConfigs names all settings a resource is to have.

    Reference: KIP-133.
    """
    changes = replacing({"retention.ms": "5", "segment.ms": "6"}, [("retention.ms", "7")])
    assert change_topic({"retention.ms": "5", "segment.ms": "6"}, changes, {}) == {
        "retention.ms": "7",
        "segment.ms": None,
    }


def test_replacing_keeps_a_setting_named_twice_visible():
    """A request that contradicts itself is refused, not resolved."""
    problem = change_topic({}, replacing({}, [("retention.ms", "7"), ("retention.ms", "8")]), {})
    assert isinstance(problem, ConfigProblem)
    assert problem.error is ErrorCode.INVALID_REQUEST

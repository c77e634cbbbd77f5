"""The node's states lead forward only, and only one of them is ready."""

import itertools

import pytest

from moldau_broker.server.lifecycle import TRANSITIONS, Lifecycle, NodeState


@pytest.mark.parametrize(("before", "after"), list(itertools.product(NodeState, NodeState)))
def test_lifecycle_follows_the_table(before, after):
    """A transition of the table happens, staying is allowed, anything else is a programmer's error."""
    lifecycle = Lifecycle()
    lifecycle.state = before
    if after is before or after in TRANSITIONS[before]:
        lifecycle.become(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(AssertionError):
            lifecycle.become(after)


def test_lifecycle_shows_recovery_progress():
    """Probes see the state, whether clients are served, and how far recovery has come."""
    lifecycle = Lifecycle()
    assert lifecycle.health() == {"state": "starting", "ready": False}
    lifecycle.become(NodeState.RECOVERING)
    lifecycle.recovery = {"logs": 10, "logs_loaded": 3}
    assert lifecycle.health() == {
        "state": "recovering",
        "ready": False,
        "recovery": {"logs": 10, "logs_loaded": 3},
    }
    lifecycle.become(NodeState.SERVING)
    assert lifecycle.health()["ready"] is True


def test_lifecycle_is_not_ready_while_something_stands_in_the_way() -> None:
    """A serving node whose metadata log has failed says so, and is taken out of rotation."""
    lifecycle = Lifecycle()
    lifecycle.become(NodeState.SERVING)
    assert lifecycle.ready
    lifecycle.impediment = lambda: "the metadata log has failed"
    assert not lifecycle.ready
    assert lifecycle.health() == {"state": "serving", "ready": False, "reason": "the metadata log has failed"}

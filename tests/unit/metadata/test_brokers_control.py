"""Brokers at the controller: registration, sessions, fencing, controlled shutdown, unregistering."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import NO_LEADER
from moldau_broker.testing.control import ControlBench, directory_id
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest


@pytest.fixture
def cluster() -> ControlBench:
    """Three brokers, topic t on all of them."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1, 2, 3]])
    return bench


# -- registration -----------------------------------------------------------------------------------------


def test_registration_gives_the_records_offset_as_epoch_and_fences(cluster: ControlBench) -> None:
    """Also where the incarnation before was active: it leaves the ISR in the same write."""
    offset = cluster.image.offset + 1
    response = cluster.register(2, clean=True)
    broker = cluster.image.brokers[2]
    assert response.broker_epoch == broker.epoch == offset
    assert broker.fenced
    assert cluster.partition("t").isr == (1, 3)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cluster_id": "other"}, ErrorCode.INCONSISTENT_CLUSTER_ID),
        ({"listeners": ()}, ErrorCode.INVALID_REGISTRATION),
        ({"log_dirs": (directory_id(1),)}, ErrorCode.INVALID_REGISTRATION),
        ({"log_dirs": (directory_id(9), directory_id(9))}, ErrorCode.INVALID_REGISTRATION),
        ({"features": ()}, ErrorCode.UNSUPPORTED_VERSION),
    ],
)
def test_registration_is_refused(cluster: ControlBench, changes: dict[str, object], error: ErrorCode) -> None:
    """And changes nothing."""
    before = cluster.image
    assert cluster.register(4, **changes).error_code == error
    assert cluster.image is before


def test_second_process_with_the_same_id_is_a_duplicate_while_the_first_lives(cluster: ControlBench) -> None:
    """It has another directory, so it cannot be the first one started again."""
    assert cluster.register(2, directory=22).error_code == ErrorCode.DUPLICATE_BROKER_REGISTRATION
    cluster.advance(7_000, alive=(1, 3))
    assert cluster.register(2, directory=22).error_code == ErrorCode.NONE


def test_new_incarnation_with_the_same_directory_replaces_the_old_one_at_once(cluster: ControlBench) -> None:
    """The directory is locked by one process at a time, so the old one is gone; no session is waited for."""
    old = cluster.image.brokers[2].epoch
    assert cluster.register(2).error_code == ErrorCode.NONE
    stale = cluster.ask(
        ApiKey.BROKER_HEARTBEAT,
        BrokerHeartbeatRequest(broker_id=2, broker_epoch=old, current_metadata_offset=1_000),
    )
    assert stale.error_code == ErrorCode.STALE_BROKER_EPOCH


def test_registration_asked_twice_has_one_epoch(cluster: ControlBench) -> None:
    """The first answer was lost; the same incarnation gets it again, and stays as it is."""
    broker = cluster.image.brokers[1]
    again = cluster.register(1, incarnation_id=broker.incarnation_id)
    assert (again.error_code, again.broker_epoch) == (ErrorCode.NONE, broker.epoch)
    assert cluster.image.brokers[1] == broker


# -- sessions ---------------------------------------------------------------------------------------------


def test_broker_is_unfenced_once_it_published_its_registration(cluster: ControlBench) -> None:
    """Not before: it would answer from metadata older than itself."""
    epoch = cluster.register(4).broker_epoch
    behind = cluster.heartbeat(4, offset=epoch - 1)
    assert (behind.is_fenced, behind.is_caught_up) == (True, False)
    there = cluster.heartbeat(4, offset=epoch)
    assert (there.is_fenced, there.is_caught_up) == (False, True)


def test_broker_not_heard_of_for_a_session_is_fenced(cluster: ControlBench) -> None:
    """At the deadline the core announced, and not before it."""
    cluster.advance(5_500, alive=(2, 3))
    assert not cluster.image.brokers[1].fenced
    assert cluster.core.next_deadline_ms is not None
    cluster.advance(1_000, alive=(2, 3))
    assert cluster.image.brokers[1].fenced
    assert cluster.partition("t").leader == 2


def test_dead_broker_is_fenced_at_once(cluster: ControlBench) -> None:
    """Whoever saw its port refuse tells the controller; a session that began again meanwhile is left alone."""
    epoch = cluster.image.brokers[1].epoch
    cluster.core.report_dead(1, epoch - 1)
    cluster.tick()
    assert not cluster.image.brokers[1].fenced
    cluster.core.report_dead(1, epoch)
    assert cluster.core.next_deadline_ms is not None
    assert cluster.core.next_deadline_ms <= cluster.now_ms
    cluster.tick()
    assert cluster.image.brokers[1].fenced


def test_fenced_broker_that_lives_after_all_is_unfenced_and_leads_nothing_it_may_not(
    cluster: ControlBench,
) -> None:
    """A process stopped past its session and continued: same epoch, out of the ISR until it caught up."""
    cluster.advance(6_500, alive=(2, 3))
    assert not cluster.heartbeat(1).is_fenced
    assert (cluster.partition("t").leader, cluster.partition("t").isr) == (2, (2, 3))


def test_new_controller_gives_short_first_sessions(cluster: ControlBench) -> None:
    """Half of one to those it never heard of; whole ones to those it does."""
    cluster.fail_over()
    cluster.advance(2_500, alive=(2, 3))
    assert not cluster.image.brokers[1].fenced
    cluster.advance(1_000, alive=(2, 3))
    assert cluster.image.brokers[1].fenced
    assert not cluster.image.brokers[2].fenced


def test_unfenced_broker_never_goes_without_a_session(cluster: ControlBench) -> None:
    """A heartbeat between the expiry and the fencing saves it, and its next silence is noticed again."""
    cluster.advance(5_500, alive=(2, 3))
    cluster.now_ms += 500
    operations = cluster.core.tick(cluster.now_ms, cluster.view)
    cluster.heartbeat(1)
    for operation in operations:
        cluster.run(operation)
    assert not cluster.image.brokers[1].fenced
    cluster.advance(6_500, alive=(2, 3))
    assert cluster.image.brokers[1].fenced


def test_broker_that_wants_to_be_fenced_is(cluster: ControlBench) -> None:
    """And one whose every log directory failed."""
    assert cluster.heartbeat(1, want_fence=True).is_fenced
    assert cluster.image.brokers[1].fenced
    failed = cluster.ask(
        ApiKey.BROKER_HEARTBEAT,
        BrokerHeartbeatRequest(
            broker_id=2,
            broker_epoch=cluster.image.brokers[2].epoch,
            current_metadata_offset=cluster.image.offset,
            offline_log_dirs=(directory_id(2),),
        ),
    )
    assert failed.is_fenced


# -- leaving ----------------------------------------------------------------------------------------------


def test_controlled_shutdown_hands_over_before_it_is_granted(cluster: ControlBench) -> None:
    """The first answer moved the leadership; the grant waits until every active broker knows of it."""
    first = cluster.heartbeat(1, want_shut_down=True)
    moved_at = cluster.image.offset
    assert (first.should_shut_down, first.is_fenced) == (False, False)
    assert cluster.image.brokers[1].in_controlled_shutdown
    assert (cluster.partition("t").leader, cluster.partition("t").isr) == (2, (2, 3))
    cluster.heartbeat(2)
    assert not cluster.heartbeat(1, want_shut_down=True).should_shut_down
    cluster.heartbeat(3, offset=moved_at - 1)
    assert not cluster.heartbeat(1, want_shut_down=True).should_shut_down
    cluster.heartbeat(3, offset=moved_at)
    last = cluster.heartbeat(1, want_shut_down=True)
    assert (last.should_shut_down, cluster.image.brokers[1].fenced) == (True, True)


def test_controlled_shutdown_is_immediate_for_who_leads_nothing(cluster: ControlBench) -> None:
    """It leaves the ISRs on the way."""
    assert cluster.heartbeat(3, want_shut_down=True).should_shut_down
    assert cluster.partition("t").isr == (1, 2)


def test_controlled_shutdown_survives_a_new_controller(cluster: ControlBench) -> None:
    """Which does not know when the last leadership moved, and so waits for everybody to know everything."""
    cluster.heartbeat(1, want_shut_down=True)
    cluster.fail_over()
    assert not cluster.heartbeat(1, want_shut_down=True).should_shut_down
    cluster.heartbeat(2)
    cluster.heartbeat(3)
    assert cluster.heartbeat(1, want_shut_down=True).should_shut_down


def test_last_broker_may_leave(cluster: ControlBench) -> None:
    """Nobody could take over; what it held waits for it."""
    cluster.kill(2)
    cluster.kill(3)
    cluster.heartbeat(1, want_shut_down=True)
    assert cluster.partition("t").leader == NO_LEADER
    assert cluster.partition("t").elr == (1,)
    assert cluster.heartbeat(1, want_shut_down=True).should_shut_down
    cluster.restart(1, clean=True)
    assert cluster.partition("t").leader == 1


def test_fenced_broker_may_stop_at_once(cluster: ControlBench) -> None:
    """It has nothing to hand over."""
    cluster.register(4)
    assert cluster.heartbeat(4, want_shut_down=True).should_shut_down


# -- forgotten --------------------------------------------------------------------------------------------


def test_unregistered_broker_is_in_no_isr_and_must_register_again(cluster: ControlBench) -> None:
    """Its replicas stay listed: moving them is a reassignment's matter."""
    epoch = cluster.image.brokers[1].epoch
    response = cluster.ask(ApiKey.UNREGISTER_BROKER, UnregisterBrokerRequest(broker_id=1))
    assert response.error_code == ErrorCode.NONE
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.replicas) == (2, (2, 3), (1, 2, 3))
    heartbeat = BrokerHeartbeatRequest(broker_id=1, broker_epoch=epoch)
    assert cluster.ask(ApiKey.BROKER_HEARTBEAT, heartbeat).error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
    cluster.restart(1)
    assert not cluster.image.brokers[1].fenced


def test_unknown_broker_cannot_be_unregistered(cluster: ControlBench) -> None:
    """In Kafka's words."""
    response = cluster.ask(ApiKey.UNREGISTER_BROKER, UnregisterBrokerRequest(broker_id=9))
    assert response.error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
    assert response.error_message == "Broker ID 9 is not currently registered"

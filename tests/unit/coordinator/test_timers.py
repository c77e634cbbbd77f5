"""Deadlines by key."""

from moldau_broker.coordinator.timers import Timers


def _fire(timers: Timers, now_ms: int) -> None:
    for action in timers.due(now_ms):
        action()


def test_timers_fire_in_order_of_deadline_and_only_when_due() -> None:
    """What is due happens earliest first; the rest stays."""
    timers, fired = Timers(), []
    for key, at in (("late", 30), ("early", 10), ("middle", 20)):
        timers.set(key, at, fired.append, key)
    _fire(timers, 20)
    assert fired == ["early", "middle"]
    assert timers.next_deadline() == 30


def test_timers_move_a_key_in_either_direction() -> None:
    """Setting a key again replaces its deadline, be the new one later or earlier."""
    timers, fired = Timers(), []
    timers.set("a", 10, fired.append, "first")
    timers.set("a", 50, fired.append, "later")
    assert timers.next_deadline() == 50
    timers.set("a", 20, fired.append, "earlier")
    assert timers.next_deadline() == 20
    _fire(timers, 100)
    assert fired == ["earlier"]


def test_timers_cancelled_never_fire() -> None:
    """A cancelled key is gone, and may be set anew."""
    timers, fired = Timers(), []
    timers.set("a", 10, fired.append, "old")
    timers.cancel("a")
    assert timers.next_deadline() is None
    timers.set("a", 5, fired.append, "new")
    _fire(timers, 100)
    assert fired == ["new"]
    assert len(timers) == 0


def test_timers_keep_one_heap_entry_a_key_however_often_it_is_postponed() -> None:
    """A member that sends heartbeats for a day does not grow the heap."""
    timers = Timers()
    for at in range(10_000):
        timers.set("member", at + 10_000, print)
    assert len(timers._heap) == 1


def test_timers_set_while_firing_are_seen() -> None:
    """An action may set what is due at once, and cancel what is due next."""
    timers, fired = Timers(), []

    def first() -> None:
        fired.append("first")
        timers.set("second", 5, fired.append, "second")
        timers.cancel("third")

    timers.set("first", 1, first)
    timers.set("third", 6, fired.append, "third")
    _fire(timers, 10)
    assert fired == ["first", "second"]

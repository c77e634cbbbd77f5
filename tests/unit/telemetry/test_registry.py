"""A page is made when somebody asks, and at most once a second."""

from moldau_broker.telemetry.registry import Telemetry


def test_telemetry_renders_at_most_once_a_second():
    """Within a second the same page is given again; afterwards the emitters are asked anew."""
    now = [5000]
    asked = []
    telemetry = Telemetry(lambda: now[0])

    def emit(exposition):
        asked.append(now[0])
        exposition.add("process_open_fds", len(asked))

    telemetry.add(emit)
    assert asked == []
    first = telemetry.page()
    now[0] += 999
    assert telemetry.page() is first
    now[0] += 1
    assert b"process_open_fds 2\n" in telemetry.page()
    assert asked == [5000, 6000]
    assert telemetry.renderings == 2


def test_telemetry_without_emitters_is_an_empty_page():
    """Nothing to show is not an error."""
    assert Telemetry(lambda: 0).page() == b""

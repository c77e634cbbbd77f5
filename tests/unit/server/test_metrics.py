"""The components' counters come out as the metrics of the table, and as Prometheus reads them."""

from random import Random
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.lifecycle import Lifecycle, NodeState
from moldau_broker.server.metrics import emit_connections, emit_logs, emit_node, emit_requests
from moldau_broker.server.request_stats import RequestStats
from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.wire.apis import ApiKey


def _samples(emit):
    exposition = Exposition()
    emit(exposition)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition.text().decode())
        for sample in family.samples
    }


def test_requests_become_a_histogram_by_api():
    """Times fall below the bound of their bucket; APIs nobody used are not shown."""
    stats = RequestStats()
    for elapsed_ns in (500, 1_500, 3_000_000, 60_000_000_000):
        stats.record(ApiKey.FETCH, elapsed_ns)
    stats.closed("idle")
    samples = _samples(emit_requests(stats))
    name = "moldau_request_seconds"
    assert samples[f"{name}_count", "Fetch"] == 4
    assert samples[f"{name}_sum", "Fetch"] == 60.003002
    assert samples[f"{name}_bucket", "Fetch", "1e-06"] == 1
    assert samples[f"{name}_bucket", "Fetch", "2e-06"] == 2
    assert samples[f"{name}_bucket", "Fetch", "0.002048"] == 2
    assert samples[f"{name}_bucket", "Fetch", "0.004096"] == 3
    assert samples[f"{name}_bucket", "Fetch", "4.194304"] == 3
    assert samples[f"{name}_bucket", "Fetch", "+Inf"] == 4
    assert samples["moldau_connections_closed_total", "idle"] == 1
    assert (f"{name}_count", "Produce") not in samples


def test_node_shows_its_state():
    """Exactly one state is 1."""
    lifecycle = Lifecycle()
    lifecycle.become(NodeState.RECOVERING)
    samples = _samples(emit_node(lifecycle))
    assert {state: value for (name, state, *_), value in samples.items() if name == "moldau_state"} == {
        "starting": 0,
        "recovering": 1,
        "serving": 0,
        "draining": 0,
    }
    assert sum(name == "moldau_build_info" for name, *_ in samples) == 1


def test_connections_of_a_listener_go_back_to_zero():
    """A listener that was used once is shown for good."""
    connected = [SimpleNamespace(listener="CLIENT"), SimpleNamespace(listener="CLIENT")]
    listeners = SimpleNamespace(
        connections=lambda: connected,
        traffic=lambda: (10, 20),
        accepted=2,
        in_flight=SimpleNamespace(held=7),
    )
    sessions = FetchSessions(10, Random(1))
    sessions.evictions = 3
    emit = emit_connections(listeners, sessions)
    samples = _samples(emit)
    assert samples["moldau_connections", "CLIENT"] == 2
    assert samples["moldau_received_bytes_total",] == 10
    assert samples["moldau_sent_bytes_total",] == 20
    assert samples["moldau_in_flight_request_bytes",] == 7
    assert samples["moldau_fetch_sessions",] == 0
    assert samples["moldau_fetch_session_evictions_total",] == 3
    connected.clear()
    assert _samples(emit)["moldau_connections", "CLIENT"] == 0


def test_logs_show_offsets_and_sizes():
    """Each partition's log, and how many there are."""
    log = SimpleNamespace(
        log_start_offset=1, log_end_offset=9, durable_offset=8, size_bytes=700, segments=[1, 2]
    )
    partition = SimpleNamespace(topic="orders", index=3, log=log, high_watermark=7)

    class Replicas:
        def __init__(self):
            self.failures = {("other", 0): "no space"}

        def __len__(self):
            return 1

        def partitions(self):
            return iter([partition])

    metadata = SimpleNamespace(image=SimpleNamespace(topics={"orders": None, "other": None}))
    assert _samples(emit_logs(Replicas(), metadata)) == {
        ("moldau_topics",): 2,
        ("moldau_partitions",): 1,
        ("moldau_partition_failures",): 1,
        ("moldau_log_start_offset", "orders", "3"): 1,
        ("moldau_log_end_offset", "orders", "3"): 9,
        ("moldau_log_durable_offset", "orders", "3"): 8,
        ("moldau_partition_high_watermark", "orders", "3"): 7,
        ("moldau_log_size_bytes", "orders", "3"): 700,
        ("moldau_log_segments", "orders", "3"): 2,
    }

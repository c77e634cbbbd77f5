"""The components' counters come out as the metrics of the table, and as Prometheus reads them."""

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.base.broker_config import TelemetrySettings
from moldau_broker.replication.throttle import UNLIMITED
from moldau_broker.replication.traffic import Counts, Traffic
from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.lifecycle import Lifecycle, NodeState
from moldau_broker.server.metrics.filters import Filters
from moldau_broker.server.metrics.node import emit_node
from moldau_broker.server.metrics.partitions import emit_partitions, emit_traffic
from moldau_broker.server.metrics.requests import emit_connections, emit_requests
from moldau_broker.server.request_stats import RequestStats
from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.testing.controller import ManualClock
from moldau_broker.wire.apis import ApiKey


def _samples(emit):
    exposition = Exposition()
    steps = emit(exposition)
    if isinstance(steps, Iterator):
        assert all(step is None for step in steps)
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
    stats.replica_fetches.record(1_500)
    samples = _samples(emit_requests(stats, ManualClock()))
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
    times = "kafka_network_requestmetrics_totaltimems"
    assert (
        samples[f"{times}_count", "Fetch"]
        == samples["kafka_network_requestmetrics_requests_total", "Fetch"]
        == 4
    )
    assert samples[f"{times}_count", "FetchFollower"] == 1
    assert samples[f"{times}_count", "FetchConsumer"] == 3
    assert 0.001 < samples[times, "FetchFollower", "0.99"] <= 0.002


def test_node_shows_its_state():
    """Exactly one state is 1."""
    lifecycle = Lifecycle()
    lifecycle.become(NodeState.RECOVERING)
    samples = _samples(emit_node(lifecycle))
    assert {key[1]: value for key, value in samples.items() if key[0] == "moldau_state"} == {
        "starting": 0,
        "recovering": 1,
        "serving": 0,
        "draining": 0,
    }
    assert sum(key[0] == "moldau_build_info" for key in samples) == 1
    assert samples["kafka_server_kafkaserver_brokerstate",] == 2


def test_connections_of_a_listener_go_back_to_zero():
    """A listener that was used once is shown for good."""
    connected = [SimpleNamespace(listener="CLIENT"), SimpleNamespace(listener="CLIENT")]
    listeners = SimpleNamespace(
        connections=lambda: connected,
        traffic=lambda: {"CLIENT": (10, 20), "INTERNAL": (0, 0)},
        accepted=2,
        delayed=1,
        in_flight=SimpleNamespace(held=7),
    )
    sessions = FetchSessions(10, Random(1))
    sessions.evictions = 3
    emit = emit_connections(listeners, sessions)
    samples = _samples(emit)
    assert samples["moldau_connections", "CLIENT"] == 2
    assert samples["moldau_received_bytes_total", "CLIENT"] == 10
    assert samples["moldau_sent_bytes_total", "CLIENT"] == 20
    assert samples["moldau_sent_bytes_total", "INTERNAL"] == 0
    assert samples["kafka_server_socket_server_metrics_connection_count", "CLIENT"] == 2
    assert samples["moldau_connections_delayed_total",] == 1
    assert samples["moldau_in_flight_request_bytes",] == 7
    assert samples["moldau_fetch_sessions",] == 0
    assert samples["moldau_fetch_session_evictions_total",] == 3
    connected.clear()
    assert _samples(emit)["moldau_connections", "CLIENT"] == 0


def _partition(topic="orders", index=3, **changes):
    log = SimpleNamespace(
        log_start_offset=1,
        log_end_offset=9,
        durable_offset=8,
        size_bytes=700,
        segments=[1, 2],
        config=SimpleNamespace(min_insync_replicas=2),
    )
    facts = {
        "topic": topic,
        "index": index,
        "log": log,
        "high_watermark": 7,
        "is_leader": True,
        "isr": (1, 2),
        "leader_epoch": 5,
        "led_since_ms": 0,
        "is_ready": True,
        "is_cut_off": False,
        "offline_reason": None,
        **dict.fromkeys(Counts._fields, 0),
    }
    return SimpleNamespace(**{**facts, **changes})


class _Replicas:
    """What emitters ask of the replica manager."""

    def __init__(self, *partitions):
        self.hosted = list(partitions)
        self.failures = {}
        self.traffic = Traffic()
        self.isr_changes = SimpleNamespace(shrinks=2, expansions=1)
        unlimited = SimpleNamespace(counted=0, rate=UNLIMITED)
        self.throttles = SimpleNamespace(leader=SimpleNamespace(counted=9, rate=5), follower=unlimited)

    def __len__(self):
        return len(self.hosted)

    def partitions(self):
        return iter(tuple(self.hosted))


def _image(*partitions):
    found = {
        (one.topic, one.index): SimpleNamespace(replicas=(1, 2, 3), adding=(), removing=())
        for one in partitions
    }
    return SimpleNamespace(
        image=SimpleNamespace(
            topics={"orders": None}, partition=lambda topic, index: found.get((topic, index))
        )
    )


def _filters(**settings):
    wanted = TelemetrySettings(**settings)
    return Filters(lambda: wanted)


class _Leads:
    def __init__(self, settled=True):
        self.settled = settled

    def settled_ms(self):
        return 1000 if self.settled else -1


def _shown_partitions(*partitions, settled=True, **settings):
    emit = emit_partitions(
        _Replicas(*partitions), _image(*partitions), _Leads(settled), _filters(**settings), 1, "c"
    )
    return _samples(emit)


def test_leader_shows_its_partition_and_its_replica():
    """The log under our names with the broker's id, the partition under Kafka's exporters' names without."""
    samples = _shown_partitions(_partition())
    assert samples["moldau_log_durable_offset", "orders", "3", "1"] == 8
    assert samples["moldau_log_size_bytes", "orders", "3", "1"] == 700
    topic = "kafka_topic_partition"
    assert {name: value for (name, *labels), value in samples.items() if labels == ["orders", "3"]} == {
        f"{topic}_current_offset": 7,
        f"{topic}_oldest_offset": 1,
        f"{topic}_in_sync_replica": 2,
        f"{topic}_leader": 1,
        f"{topic}_leader_is_preferred": 1,
        f"{topic}_replicas": 3,
        f"{topic}_under_replicated_partition": 1,
        "moldau_partition_leader_epoch": 5,
        "kafka_cluster_partition_underminisr": 0,
        "kafka_cluster_partition_atminisr": 1,
        "kafka_cluster_partition_replicascount": 3,
        "kafka_cluster_partition_insyncreplicascount": 2,
        "kafka_cluster_partition_underreplicated": 1,
        "kafka_log_log_size": 700,
        "kafka_log_log_logendoffset": 9,
        "kafka_log_log_logstartoffset": 1,
    }
    assert samples["kafka_partition_latest_offset", "c", "orders", "3"] == 7
    assert samples["kafka_partition_earliest_offset", "c", "orders", "3"] == 1
    manager = "kafka_server_replicamanager"
    assert samples[f"{manager}_underreplicatedpartitions",] == 1
    assert samples[f"{manager}_atminisrpartitioncount",] == 1
    assert samples[f"{manager}_underminisrpartitioncount",] == 0
    assert samples[f"{manager}_isrshrinks_total",] == 2


def test_min_insync_above_the_replicas_asks_for_all_of_them():
    """As in Kafka: a topic of three replicas that asks for five is under its minimum with two."""
    partition = _partition()
    partition.log.config.min_insync_replicas = 5
    samples = _shown_partitions(partition)
    assert samples["kafka_cluster_partition_underminisr", "orders", "3"] == 1
    assert samples["kafka_server_replicamanager_underminisrpartitioncount",] == 1


def test_follower_and_new_leader_show_their_replica_only():
    """What a partition's leader tells is told by nobody else, and not before the leader before it is silent."""
    for samples in (
        _shown_partitions(_partition(is_leader=False)),
        _shown_partitions(_partition(), settled=False),
    ):
        assert samples["moldau_log_end_offset", "orders", "3", "1"] == 9
        assert not [key for key in samples if key[1:] == ("orders", "3")]
        assert samples["kafka_server_replicamanager_partitioncount",] == 1


def test_denied_topics_have_no_series_and_count_in_sums():
    """A filter takes the topic's own series away; the node's figures stay true."""
    samples = _shown_partitions(_partition(), _partition("logs-1"), topics_deny=("logs-*",))
    assert {key[1] for key in samples if len(key) > 2} == {"orders", "c"}
    assert samples["kafka_server_replicamanager_leadercount",] == 2


def test_traffic_is_never_less_than_before():
    """A replica that leaves takes nothing back; a topic that is deleted stays in the sum over all."""
    first, second = (
        _partition(index=0, bytes_in=10, records_in=1),
        _partition(index=1, bytes_in=5, records_in=2),
    )
    replicas = _Replicas(first, second)
    emit = emit_traffic(replicas, _filters())
    name = "kafka_server_brokertopicmetrics_bytesin_total"
    samples = _samples(emit)
    assert (samples[name,], samples[name, "orders"]) == (15, 15)
    replicas.hosted.remove(first)
    replicas.traffic.replica_gone(first)
    samples = _samples(emit)
    assert (samples[name,], samples[name, "orders"]) == (15, 15)
    assert samples["kafka_server_brokertopicmetrics_messagesin_total", "orders"] == 3
    replicas.hosted.remove(second)
    replicas.traffic.replica_gone(second)
    replicas.traffic.topic_gone("orders")
    samples = _samples(emit)
    assert samples[name,] == 15
    assert (name, "orders") not in samples
    assert samples["moldau_replication_throttled_bytes_total", "leader"] == 9
    assert samples["moldau_replication_throttle_bytes_per_second", "leader"] == 5
    assert ("moldau_replication_throttle_bytes_per_second", "follower") not in samples


def test_what_changed_between_two_pages_is_shown_and_nothing_else_lost():
    """Lines are kept from page to page: an offset that grows, a leadership that goes, a partition that is deleted."""
    first, second = _partition(index=0), _partition(index=1)
    replicas = _Replicas(first, second)
    emit = emit_partitions(replicas, _image(first, second), _Leads(), _filters(), 1, "c")
    before = _samples(emit)
    first.high_watermark = 8
    after = _samples(emit)
    assert {key: after[key] for key in after if after[key] != before[key]} == {
        ("kafka_topic_partition_current_offset", "orders", "0"): 8,
        ("kafka_partition_latest_offset", "c", "orders", "0"): 8,
        ("moldau_partition_high_watermark", "orders", "0", "1"): 8,
    }
    second.is_leader = False
    assert ("kafka_topic_partition_leader", "orders", "1") not in _samples(emit)
    replicas.hosted = [second]
    assert {labels[1] for _, *labels in _samples(emit) if labels[:1] == ["orders"]} == {"1"}

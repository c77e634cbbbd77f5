"""The metrics page is what Prometheus reads, and only what the table knows."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.telemetry.exporter_metrics import EXPORTER_METRICS
from moldau_broker.telemetry.exposition import Exposition, label_text
from moldau_broker.telemetry.jmx_metrics import JMX_METRICS
from moldau_broker.telemetry.own_metrics import OWN_METRICS
from moldau_broker.telemetry.table import METRICS, MetricType, Teller

BROKER = Path(__file__).parents[3] / "broker/moldau_broker"


def _samples(exposition):
    page = exposition.text().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_exposition_is_read_back_by_prometheus_own_parser():
    """Counters, gauges and labels with any text survive."""
    exposition = Exposition()
    exposition.add("kafka_topic_partition_current_offset", 2**53, 'we"ird\\name\n', "0")
    exposition.add("kafka_topic_partition_current_offset", 7, "größe", "1")
    exposition.add("process_cpu_seconds_total", 0.25)
    assert _samples(exposition) == {
        ("kafka_topic_partition_current_offset", 'we"ird\\name\n', "0"): 2**53,
        ("kafka_topic_partition_current_offset", "größe", "1"): 7,
        ("process_cpu_seconds_total",): 0.25,
    }


def test_exposition_columns_take_labels_as_text():
    """Several metrics with the same labels; a metric with others is a programmer's error."""
    exposition = Exposition()
    labels = ("topic", "partition")
    names = ("kafka_topic_partition_oldest_offset", "kafka_topic_partition_current_offset")
    for column, value in zip(exposition.columns(labels, *names), (1, 2.5), strict=True):
        column.put(label_text(labels, ('t"', "0")), value)
    assert _samples(exposition) == {
        ("kafka_topic_partition_oldest_offset", 't"', "0"): 1,
        ("kafka_topic_partition_current_offset", 't"', "0"): 2.5,
    }
    with pytest.raises(AssertionError):
        exposition.columns(labels, "moldau_log_end_offset")
    with pytest.raises(AssertionError):
        exposition.column("moldau_request_seconds")


def test_exposition_of_many_lines_comes_in_pieces():
    """No piece is large, and together they are the page."""
    exposition = Exposition()
    column = exposition.column("kafka_topic_partition_current_offset")
    for index in range(10_000):
        column.put(label_text(("topic", "partition"), ("t", str(index))), index)
    exposition.add("process_open_fds", 1)
    pieces = list(exposition.pieces())
    assert len(pieces) >= 5
    assert max(map(len, pieces)) < 200_000
    families = list(text_string_to_metric_families(b"".join(pieces).decode()))
    assert sorted(len(family.samples) for family in families) == [1, 10_000]


def test_exposition_summary():
    """Quantiles as labels, sum and count beside them."""
    exposition = Exposition()
    exposition.add_summary("kafka_network_requestmetrics_totaltimems", {"0.99": 1.5}, 12.0, 7, "Fetch")
    samples = _samples(exposition)
    assert samples["kafka_network_requestmetrics_totaltimems", "Fetch", "0.99"] == 1.5
    assert samples["kafka_network_requestmetrics_totaltimems_sum", "Fetch"] == 12
    assert samples["kafka_network_requestmetrics_totaltimems_count", "Fetch"] == 7
    with pytest.raises(AssertionError):
        exposition.add_summary("process_open_fds", {}, 1.0, 1)


def test_exposition_total_beside_its_parts():
    """Where the table says so a metric is also shown without labels; elsewhere its labels must be given."""
    exposition = Exposition()
    exposition.add("kafka_server_brokertopicmetrics_bytesin_total", 3)
    exposition.add("kafka_server_brokertopicmetrics_bytesin_total", 2, "t")
    assert exposition.text().decode().splitlines()[2:] == [
        "kafka_server_brokertopicmetrics_bytesin_total 3",
        'kafka_server_brokertopicmetrics_bytesin_total{topic="t"} 2',
    ]
    with pytest.raises(AssertionError):
        exposition.add("kafka_topic_partitions", 1)


def test_exposition_histogram_is_cumulative():
    """Buckets add up, the last one is +Inf, and sum and count belong to them."""
    exposition = Exposition()
    exposition.add_histogram("moldau_request_seconds", [0.001, 0.01], [3, 0, 2], 1.5, "Fetch")
    exposition.add_histogram("moldau_event_loop_lag_seconds", [0.5], [0, 1], 2.0)
    samples = _samples(exposition)
    assert samples["moldau_request_seconds_bucket", "Fetch", "0.001"] == 3
    assert samples["moldau_request_seconds_bucket", "Fetch", "0.01"] == 3
    assert samples["moldau_request_seconds_bucket", "Fetch", "+Inf"] == 5
    assert samples["moldau_request_seconds_count", "Fetch"] == 5
    assert samples["moldau_request_seconds_sum", "Fetch"] == 1.5
    assert samples["moldau_event_loop_lag_seconds_bucket", "+Inf"] == 1


def test_exposition_groups_samples_by_metric():
    """However they come, the samples of one metric stand together, below one head."""
    exposition = Exposition()
    for partition in ("0", "1"):
        exposition.add("moldau_log_start_offset", 1, "t", partition, "1")
        exposition.add("moldau_log_end_offset", 2, "t", partition, "1")
    lines = exposition.text().decode().splitlines()
    assert [line.split("{")[0] for line in lines if not line.startswith("#")] == [
        "moldau_log_start_offset",
        "moldau_log_start_offset",
        "moldau_log_end_offset",
        "moldau_log_end_offset",
    ]
    assert sum(line.startswith("# TYPE") for line in lines) == 2


def test_exposition_infinity():
    """A number without bound is written as Prometheus writes it."""
    exposition = Exposition()
    exposition.add("process_max_fds", float("inf"))
    assert _samples(exposition) == {("process_max_fds",): float("inf")}


def test_exposition_refuses_what_the_table_does_not_know():
    """A metric without an entry, or with other labels, is a programmer's error."""
    with pytest.raises(KeyError):
        Exposition().add("moldau_unheard_of", 1)
    with pytest.raises(AssertionError):
        Exposition().add("moldau_log_end_offset", 1, "topic only")
    with pytest.raises(AssertionError):
        Exposition().add("moldau_request_seconds", 1, "Fetch")
    with pytest.raises(AssertionError):
        Exposition().add_histogram("process_open_fds", [], [1], 1.0)
    with pytest.raises(AssertionError):
        Exposition().add_histogram("moldau_request_seconds", [1.0], [1], 1.0, "Fetch")


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_metric_follows_prometheus_naming(metric):
    """Counters end in _total, units stand in our own names, the emitter is a module of ours."""
    assert re.fullmatch(r"(moldau|process|python|kafka)_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
    if metric.unit in {"seconds", "bytes"} and not metric.name.startswith("kafka_"):
        assert metric.unit in metric.name
    assert metric.help.endswith(".")
    emitter = BROKER / (metric.emitter.replace(".", "/") + ".py")
    stem = metric.name.removesuffix("_total").rpartition("_")[2]
    assert stem in emitter.read_text(), f"{metric.emitter} does not show {metric.name}"


def test_table_has_no_name_twice():
    """Two entries of one name would hide each other."""
    assert len(METRICS) == len(OWN_METRICS) + len(EXPORTER_METRICS) + len(JMX_METRICS)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_metric_with_a_partition_or_a_group_is_told_by_one_node(metric):
    """Whatever has such a label and is not counted by every node for itself says who tells it."""
    if {"partition", "consumergroup", "group"} & set(metric.labels):
        assert metric.teller is not Teller.NODE

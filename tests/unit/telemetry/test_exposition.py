"""The metrics page is what Prometheus reads, and only what the table knows."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.telemetry.table import METRICS, MetricType

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
    exposition.add("moldau_log_end_offset", 2**53, 'we"ird\\name\n', "0")
    exposition.add("moldau_log_end_offset", 7, "größe", "1")
    exposition.add("process_cpu_seconds_total", 0.25)
    assert _samples(exposition) == {
        ("moldau_log_end_offset", 'we"ird\\name\n', "0"): 2**53,
        ("moldau_log_end_offset", "größe", "1"): 7,
        ("process_cpu_seconds_total",): 0.25,
    }


def test_exposition_adds_a_row_of_metrics_with_the_same_labels():
    """Several metrics of one partition come together; each must have these labels."""
    exposition = Exposition()
    exposition.add_all({"moldau_log_start_offset": 1, "moldau_log_end_offset": 2}, "t", "0")
    assert _samples(exposition) == {
        ("moldau_log_start_offset", "t", "0"): 1,
        ("moldau_log_end_offset", "t", "0"): 2,
    }
    with pytest.raises(AssertionError):
        exposition.add_all({"moldau_log_start_offset": 1, "moldau_topics": 2}, "t", "0")


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
        exposition.add("moldau_log_start_offset", 1, "t", partition)
        exposition.add("moldau_log_end_offset", 2, "t", partition)
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
    """Counters end in _total, units stand in the name, the emitter is a module of ours."""
    assert re.fullmatch(r"(moldau|process)_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
    if metric.unit in {"seconds", "bytes"}:
        assert metric.unit in metric.name
    assert metric.help.endswith(".")
    assert (BROKER / (metric.emitter.replace(".", "/") + ".py")).is_file(), metric.emitter

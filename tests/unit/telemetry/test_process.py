"""The process' numbers are those of this process."""

import os
import time

import psutil
from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.telemetry.process import emit_process


def _numbers():
    exposition = Exposition()
    emit_process(exposition)
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(exposition.text().decode())
        for sample in family.samples
    }


def test_process_numbers_match_the_systems():
    """Memory, start time and threads agree with an independent reading."""
    process = psutil.Process()
    threads = {process.num_threads()}
    numbers = _numbers()
    threads.add(process.num_threads())  # a thread of an earlier test may just end
    assert 0.8 < numbers["process_resident_memory_bytes"] / process.memory_info().rss < 1.25
    assert abs(numbers["process_start_time_seconds"] - process.create_time()) < 2
    assert min(threads) <= numbers["process_threads"] <= max(threads)
    assert numbers["process_max_fds"] == process.rlimit(psutil.RLIMIT_NOFILE)[0]


def test_process_counts_open_files():
    """Ten more files are ten more."""
    before = _numbers()["process_open_fds"]
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    try:
        assert _numbers()["process_open_fds"] == before + 10
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_process_cpu_time_grows_with_work():
    """Work shows up as CPU seconds."""
    before = _numbers()["process_cpu_seconds_total"]
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert _numbers()["process_cpu_seconds_total"] >= before + 0.05

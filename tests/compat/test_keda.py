"""The two KEDA triggers of docs/kubernetes.md, read out of the page and asked of a broker that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.observability.prometheus import Prometheus, Target, eventually, why_not

from moldau_broker.testing.cluster import HOST, ProcessCluster
from moldau_operator.specs.objects import HTTP_PORT, headless_name

pytestmark = [pytest.mark.compat, pytest.mark.cluster]

DOCS = Path(__file__).parents[2] / "docs" / "kubernetes.md"
GROUP = "billing"


def triggers() -> dict[str, dict[str, str]]:
    """The page's triggers by their type: what KEDA is told of each."""
    blocks = re.findall(r"```yaml\n(triggers:\n.*?)```", DOCS.read_text(), re.DOTALL)
    found = [trigger for block in blocks for trigger in yaml.safe_load(block)["triggers"]]
    assert len(found) == 2
    return {trigger["type"]: trigger["metadata"] for trigger in found}


def located(value: Any, path: str) -> Any:
    """What KEDA takes of an answer in JSON: names joined by dots (all that the page uses of GJSON)."""
    assert re.fullmatch(r"\w+(\.\w+)*", path)
    for name in path.split("."):
        value = value[name]
    return value


class Scene:
    """One broker, a topic of two partitions with ten records each, and a group that has committed some of them."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.cluster = cluster
        producer = Producer({"bootstrap.servers": cluster.bootstrap})
        for number in range(20):
            producer.produce("orders", b"x", partition=number % 2)
        assert producer.flush(20) == 0

    def commit(self, first: int, second: int) -> None:
        """The group has read so far."""
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": GROUP})
        places = [TopicPartition("orders", 0, first), TopicPartition("orders", 1, second)]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    @property
    def http_port(self) -> int:
        """Of the only node."""
        return next(iter(self.cluster.nodes.values())).http_port


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    settings = {
        "num.partitions": "2",
        "offsets.topic.num.partitions": "1",
        "auto.create.topics.enable": "true",
    }
    with ProcessCluster(1, folder=tmp_path / "cluster", settings=settings) as cluster:
        yield Scene(cluster)


def test_the_metrics_api_url_gives_the_groups_lag(scene: Scene) -> None:
    """Its host is the Service of the brokers, its port theirs; asked of a real one it follows every commit."""
    told = triggers()["metrics-api"]
    url = urlsplit(told["url"])
    assert (url.hostname, url.port) == (f"{headless_name('demo')}.moldau.svc", HTTP_PORT)
    assert told["format"] == "json"

    def lag() -> int:
        with urlopen(f"http://{HOST}:{scene.http_port}{url.path}", timeout=20) as answer:
            return int(located(json.load(answer), told["valueLocation"]))

    scene.commit(4, 9)
    assert eventually(lag, "lag is known") == 7
    scene.commit(10, 10)
    eventually(lambda: lag() == 0, "all is read")


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_the_prometheus_query_gives_the_groups_lag(scene: Scene, tmp_path: Path) -> None:
    """No series before the first commit, as the page says; then the lag, and nought once all is read."""
    told = triggers()["prometheus"]
    assert told["ignoreNullValues"] == "true"
    targets = [Target("moldau", "broker-0", scene.http_port, {"namespace": "moldau"})]
    with Prometheus(tmp_path / "prometheus", targets, []) as prometheus:
        eventually(lambda: prometheus.value('up{instance="broker-0"}') == 1, "the broker is scraped")
        assert prometheus.value(told["query"]) is None
        scene.commit(4, 9)
        eventually(lambda: prometheus.value(told["query"]) == 7, "the lag is scraped")
        scene.commit(10, 10)
        eventually(lambda: prometheus.value(told["query"]) == 0, "all is read")

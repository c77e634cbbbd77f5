"""What the chart adds for Prometheus and Grafana, as Helm renders it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "moldau"
HELM = os.environ.get("MOLDAU_HELM") or shutil.which("helm")
MONITORING = {"PodMonitor", "PrometheusRule", "ConfigMap"}

pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not installed")


def _render(*flags: str) -> list[dict[str, Any]]:
    assert HELM is not None
    command = [HELM, "template", "demo", str(CHART), "--kube-version", "1.31.0", "--namespace", "ops"]
    for flag in flags:
        command += ["--set", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def _of(kind: str, objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def test_chart_has_no_monitoring_by_default() -> None:
    """Its definitions are not there in every Kubernetes."""
    assert not MONITORING & {one["kind"] for one in _render()}


def test_one_flag_gives_monitors_rules_and_dashboards() -> None:
    """Scrape-time labels that dashboards filter by, every alert, every dashboard byte for byte."""
    objects = _render("monitoring.enabled=true", "watchNamespace=team")
    monitors = _of("PodMonitor", objects)
    assert set(monitors) == {"demo-brokers", "demo-operator"}
    brokers = monitors["demo-brokers"]
    assert brokers["metadata"]["namespace"] == "team"
    (endpoint,) = brokers["spec"]["podMetricsEndpoints"]
    labels = {one["targetLabel"] for one in endpoint["relabelings"]}
    assert labels >= {
        "namespace",
        "kafka_cluster",
        "kubernetes_pod_name",
        "strimzi_io_cluster",
        "strimzi_io_name",
    }
    rules = _of("PrometheusRule", objects)
    assert set(rules) == {"demo-brokers", "demo-groups", "demo-operator"}
    for name in ("brokers", "groups", "operator"):
        wanted = yaml.safe_load((ROOT / "alerts" / f"{name}.yaml").read_text())
        assert rules[f"demo-{name}"]["spec"] == wanted
    for path in (ROOT / "dashboards").glob("*.json"):
        text = _of("ConfigMap", objects)[f"demo-{path.stem}"]["data"][path.name]
        assert json.loads(text) == json.loads(path.read_text())


def test_each_part_can_be_left_out() -> None:
    """And kminion's names are an extra."""
    off = [f"monitoring.{part}.enabled=false" for part in ("podMonitor", "rules", "dashboards")]
    assert not MONITORING & {one["kind"] for one in _render("monitoring.enabled=true", *off)}
    extra = _render("monitoring.enabled=true", "monitoring.rules.kminionNames=true")
    assert "demo-kminion-names" in _of("PrometheusRule", extra)


def test_alerts_link_to_where_runbooks_are_read() -> None:
    """Labels of one's own, and a base for links."""
    objects = _render(
        "monitoring.enabled=true",
        "monitoring.rules.runbooks=https://wiki.example/moldau",
        "monitoring.rules.labels.release=stack",
    )
    rule = _of("PrometheusRule", objects)["demo-operator"]
    assert rule["metadata"]["labels"]["release"] == "stack"
    annotations = rule["spec"]["groups"][0]["rules"][0]["annotations"]
    assert annotations["runbook_url"] == "https://wiki.example/moldau#moldauoperatorhasnoleader"


def test_chart_refuses_monitoring_values_it_does_not_know() -> None:
    """A misspelt flag must not be silence."""
    assert HELM is not None
    command = [
        HELM,
        "template",
        "demo",
        str(CHART),
        "--kube-version",
        "1.31.0",
        "--set",
        "monitoring.enable=true",
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0

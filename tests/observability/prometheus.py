"""A Prometheus of our own on loopback, and what it is asked."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from moldau_broker.testing.node import HOST, dies_with_its_parent, free_ports

SCRAPE = "2s"
"""And as long may a scrape take: beside other work a broker may need more than one."""
_RANGE = re.compile(r"\[(?!1m\])\d+[smhd]\]")
_WINDOWS = {"[1h]": "[1m]", "[6h]": "[10s]"}
_SECONDS = re.compile(r"(seconds[a-z_]*\)?|_seconds\)?) > (\d{2,})")


def quicken(text: str) -> str:
    """Rules that need no minutes: time alone is shortened, never what is compared with what.

    `for` becomes a second and windows ten; thresholds that are themselves times of a minute and more are divided by 20.
    """
    text = re.sub(r"^(\s+)for: \S+$", r"\1for: 1s", text, flags=re.MULTILINE)
    text = text.replace(
        "current_epoch[15m]", "current_epoch[1m]"
    )  # that many elections take longer than ten seconds
    text = _RANGE.sub(lambda found: _WINDOWS.get(found[0], "[10s]"), text)
    return _SECONDS.sub(lambda found: f"{found[1]} > {int(found[2]) // 20}", text)


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped: the labels are those that Kubernetes would give it."""

    job: str
    instance: str
    port: int
    labels: Mapping[str, str]
    honor_labels: bool = False


def why_not() -> str | None:
    """Why there is no Prometheus here; None when there is."""
    return None if shutil.which("prometheus") else "prometheus is not installed"


class Prometheus:
    """Runs while entered."""

    def __init__(self, folder: Path, targets: Sequence[Target], rules: Sequence[Path]) -> None:
        self._folder = folder
        self._targets = tuple(targets)
        self._rules = rules
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)
        self.started = time.time()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._rules:
            (self._folder / path.name).write_text(quicken(path.read_text()))
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(self._config()))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={HOST}:{self.port}",
                    "--query.lookback-delta=6s",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_its_parent(),
            )
        try:
            eventually(lambda: self.query("up"), "Prometheus has scraped")
        except BaseException:
            self.close()
            raise
        self.started = time.time()
        return self

    def scrape(self, target: Target) -> None:
        """Another target from now on."""
        self._targets = (*self._targets, target)
        self._reload()

    def scrape_no_more(self, target: Target) -> None:
        """Its series end with the next scrape."""
        self._targets = tuple(one for one in self._targets if one != target)
        self._reload()

    def _reload(self) -> None:
        assert self._process is not None
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(self._config()))
        self._process.send_signal(signal.SIGHUP)

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _config(self) -> dict[str, Any]:
        jobs: dict[str, dict[str, Any]] = {}
        for target in self._targets:
            job = jobs.setdefault(
                target.job,
                {
                    "job_name": target.job,
                    "honor_labels": target.honor_labels,
                    "static_configs": [],
                },
            )
            labels = {"instance": target.instance, **target.labels}
            job["static_configs"].append({"targets": [f"{HOST}:{target.port}"], "labels": labels})
        return {
            "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": [str(self._folder / path.name) for path in self._rules],
            "scrape_configs": list(jobs.values()),
        }

    def _get(self, path: str, **parameters: object) -> Any:
        url = f"http://{HOST}:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            if error.code == 503:
                return None  # it reads its log
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        except URLError:
            return None  # it is not up yet

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Its series now."""
        found = self._get("query", query=expression)
        return [] if found is None else list(found["result"])

    def value(self, expression: str) -> float | None:
        """Of its only series; None where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {len(found)} series"
        return float(found[0]["value"][1]) if found else None

    def history(self, expression: str, since: float | None = None, step: float = 2.0) -> list[dict[str, Any]]:
        """Its series from then until now."""
        begun = self.started if since is None else since
        found = self._get("query_range", query=expression, start=begun, end=time.time(), step=step)
        return [] if found is None else list(found["result"])

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Alerts that fire now, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in self._get("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found


def eventually(condition: Callable[[], Any], what: str, within: float = 30.0) -> Any:
    """What the condition gives as soon as it gives something.

    Raises:
        AssertionError: not in time.
    """
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.25)

"""`python -m dashboards`: write the JSON files beside this one, and the chart's copies of them and of the alerts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dashboards.cluster import CLUSTER_DASHBOARD
from dashboards.grafana import Dashboard, as_json
from dashboards.groups import GROUPS
from dashboards.operators import OPERATOR
from dashboards.overview import OVERVIEW
from dashboards.quorum import QUORUM
from dashboards.topics import TOPICS

ROOT: Final = Path(__file__).parent.parent
HERE: Final = ROOT / "dashboards"
ALERTS: Final = ROOT / "alerts"
CHART: Final = ROOT / "charts" / "moldau" / "files"
DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, CLUSTER_DASHBOARD, TOPICS, GROUPS, QUORUM, OPERATOR)


def generated() -> dict[Path, str]:
    """Every file that is made, with its text."""
    found: dict[Path, str] = {}
    for dashboard in DASHBOARDS:
        text = json.dumps(as_json(dashboard, DASHBOARDS), indent=2) + "\n"
        found[HERE / f"{dashboard.uid}.json"] = text
        found[CHART / "dashboards" / f"{dashboard.uid}.json"] = text
    for path in sorted(ALERTS.glob("*.yaml")):
        found[CHART / "alerts" / path.name] = path.read_text(encoding="utf-8")
    return found


def main() -> None:
    """Write what differs."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Reads single numbers off a broker's /metrics page. Pure."""

from __future__ import annotations

from collections.abc import Collection


def read_totals(page: str, names: Collection[str]) -> dict[str, float]:
    """The value of each metric of these names, summed over its series; a metric that is not there is absent.

    Series with a `topic` label are left out where there is one without it: Kafka's names have both, the second being
    the sum of the first.
    """
    plain: dict[str, float] = {}
    by_topic: dict[str, float] = {}
    for line in page.splitlines():
        if not line or line[0] == "#":
            continue
        name, brace, rest = line.partition("{")
        if not brace:
            name, _, rest = line.partition(" ")
        if name not in names:
            continue
        labels, _, value = rest.rpartition(" ")
        try:
            number = float(value)
        except ValueError:
            continue
        into = by_topic if 'topic="' in labels else plain
        into[name] = into.get(name, 0.0) + number
    return {**by_topic, **plain}

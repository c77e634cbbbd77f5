"""Who is behind, by how much, and whether it gets better."""

from __future__ import annotations

from dashboards.grafana import Dashboard, Panel, Query, Row, series, stat
from dashboards.promql import CLUSTER, GROUP, NAMESPACE, by, of, top

_LAG = "kafka_consumergroup_"
_NAMED = 'group=~"$group"'
_CALLED = 'consumergroup=~"$group"'


def _per_second(name: str, *more: str) -> str:
    """Offsets are gauges here, as they may go back; while they go forward this is how fast."""
    return f"clamp_min(deriv({of(name, *more)}[$__rate_interval]), 0)"


_CONSUMED = by("consumergroup", _per_second(_LAG + "current_offset_sum", _CALLED))
_LAG_OF = by("consumergroup", of(_LAG + "lag_sum", _CALLED))

GROUPS = Dashboard(
    uid="moldau-groups",
    title="moldau / Groups and lag",
    help="Who is behind, by how much, and whether it gets better.",
    variables=(NAMESPACE, CLUSTER, GROUP),
    rows=(
        Row(
            "Now",
            (
                stat("Groups", f"count({of(_LAG + 'members', _CALLED)})", "With members or with commits."),
                stat(
                    "Groups without members",
                    f"sum({of(_LAG + 'members', _CALLED)} == bool 0)",
                    "Nobody consumes for them: their lag grows until somebody does.",
                ),
                stat(
                    "Longest lag",
                    f"max({of(_LAG + 'group_max_lag_seconds', _NAMED)})",
                    "Age of the oldest record that is not consumed.",
                    unit="s",
                    warn=60,
                    bad=600,
                ),
                stat(
                    "Lag in records",
                    f"sum({of(_LAG + 'group_sum_lag', _NAMED)})",
                    "Over the chosen groups.",
                ),
                stat(
                    "Age of these figures",
                    f"max({of('moldau_lag_age_seconds')})",
                    "Since the coordinators read positions. Above some seconds: a broker does not answer another one.",
                    unit="s",
                    warn=10,
                    bad=60,
                ),
                stat(
                    "Coordinators loading",
                    f"sum({of('moldau_groups_loading')})",
                    "Partitions of __consumer_offsets being read after a failover; their groups have to wait.",
                    warn=1,
                ),
            ),
        ),
        Row(
            "Lag",
            (
                series(
                    "Seconds behind",
                    "How old what is consumed now is. A line rising at one second a second: the group stands still.",
                    (top(15, by("group", of(_LAG + "group_max_lag_seconds", _NAMED), "max")), "{{group}}"),
                    unit="s",
                    warn=60,
                    bad=600,
                    width=12,
                ),
                series(
                    "Records behind",
                    "Rising: producers are faster than the group.",
                    (top(15, _LAG_OF), "{{consumergroup}}"),
                    width=12,
                ),
                series(
                    "Worst partitions, seconds",
                    "One partition alone: its consumer is stuck, or a key is hot.",
                    (
                        top(10, of(_LAG + "group_lag_seconds", _NAMED)),
                        "{{group}} {{topic}}-{{partition}}",
                    ),
                    unit="s",
                    width=12,
                ),
                series(
                    "Worst partitions, records",
                    "",
                    (top(10, of(_LAG + "lag", _CALLED)), "{{consumergroup}} {{topic}}-{{partition}}"),
                    width=12,
                ),
            ),
        ),
        Row(
            "Movement",
            (
                series(
                    "Records consumed",
                    "As committed. 0 while there is lag: nobody commits.",
                    (top(15, _CONSUMED), "{{consumergroup}}"),
                    unit="cps",
                ),
                series(
                    "Time to catch up if nothing came",
                    "Lag through what is consumed a second.",
                    (top(15, f"{_LAG_OF} / ({_CONSUMED} > 0)"), "{{consumergroup}}"),
                    unit="s",
                ),
                series(
                    "Members",
                    "A saw-tooth: members come and go; the brokers' logs have group.rebalance with the reason.",
                    (by("consumergroup", of(_LAG + "members", _CALLED), "max"), "{{consumergroup}}"),
                ),
            ),
        ),
        Row(
            "All groups",
            (
                Panel(
                    "Every group",
                    (
                        Query(
                            by("consumergroup, state", of("moldau_group_state", _CALLED), "max"), instant=True
                        ),
                        Query(by("consumergroup", of(_LAG + "members", _CALLED), "max"), instant=True),
                        Query(_LAG_OF, instant=True),
                        Query(
                            "label_replace("
                            + by("group", of(_LAG + "group_max_lag_seconds", _NAMED), "max")
                            + ', "consumergroup", "$1", "group", "(.*)")',
                            instant=True,
                        ),
                    ),
                    "A dash: nothing committed, or a leader that does not answer. It never means 0.",
                    kind="table",
                    width=24,
                    columns=(
                        ("consumergroup", "Group", ""),
                        ("state", "State", ""),
                        ("Value #B", "Members", ""),
                        ("Value #C", "Records behind", ""),
                        ("Value #D", "Behind", "s"),
                    ),
                ),
            ),
        ),
    ),
)

"""Does the operator see, decide and act?"""

from __future__ import annotations

from dashboards.grafana import Dashboard, Row, Variable, series, stat
from dashboards.promql import BY_NAMESPACE

_P = "moldau_operator_"
_DONE = _P + "reconciliations_"

_NAMESPACE = Variable("namespace", "Namespace", "label_values(moldau_operator_resources, namespace)")


def _of(name: str, *more: str) -> str:
    return f"{name}{{{','.join((BY_NAMESPACE, *more))}}}"


def _own(name: str) -> str:
    """The operator's own process; its metrics have the names that every process has."""
    return f"{name} and on (instance, job) {_P}leader"


def _rate(name: str, *more: str) -> str:
    matchers = f"{{{','.join(more)}}}" if more else ""
    return f"rate({name}{matchers}[$__rate_interval])"


def _p99(by: str, buckets: str) -> str:
    return f"histogram_quantile(0.99, sum by (le, {by}) ({buckets})) >= 0"


OPERATOR = Dashboard(
    uid="moldau-operator",
    title="moldau / Operator",
    help="Does the operator see what changes, decide, and act; and what is not (yet) as declared.",
    variables=(_NAMESPACE,),
    rows=(
        Row(
            "Now",
            (
                stat(
                    "Operators that lead",
                    f"sum({_P}leader)",
                    "One of each namespace holds the Lease. 0: nothing is reconciled; brokers go on.",
                    warn=1,
                    bad=0.5,
                ),
                stat(
                    "Resources not as declared",
                    f"sum({_of(_P + 'plan_gap')})",
                    "Ready is not True; kubectl get says why.",
                    warn=1,
                ),
                stat(
                    "Cluster unready for",
                    f"max({_of(_P + 'cluster_unready_seconds')})",
                    "A roll takes minutes. Longer: status.rollout names the broker that is waited for.",
                    unit="s",
                    warn=300,
                    bad=900,
                ),
                stat(
                    "Last pass",
                    f"max({_P}pass_age_seconds)",
                    "Since everything was looked at. The operator looks at least every 10 s.",
                    unit="s",
                    warn=30,
                    bad=120,
                ),
                stat(
                    "Watch behind",
                    f"max({_P}watch_behind_seconds)",
                    "A watch that misses what a list shows. Above a minute the process is started anew.",
                    unit="s",
                    warn=10,
                    bad=60,
                ),
                stat(
                    "Events waiting",
                    f"sum({_P}queue_depth)",
                    "Heard and not looked at. It only grows while a pass takes long.",
                    warn=100,
                ),
            ),
        ),
        Row(
            "Reconciliations",
            (
                series(
                    "Reconciliations",
                    "",
                    (f"sum by (kind) ({_rate(_DONE + 'total')})", "{{kind}}"),
                    unit="cps",
                ),
                series(
                    "Failed",
                    "Lasting: the brokers or the API server cannot be asked; the operator's log says which.",
                    (f"sum by (kind) ({_rate(_DONE + 'failed_total')})", "{{kind}}"),
                    unit="cps",
                    bad=0.1,
                ),
                series(
                    "Duration, 99th percentile",
                    "",
                    (
                        _p99("kind", _rate(_DONE + "duration_seconds_bucket")),
                        "{{kind}}",
                    ),
                    unit="s",
                    warn=10,
                    bad=60,
                ),
                series(
                    "Begun by the clock alone",
                    "No event came for 10 s. All of them, while things change: the watches are deaf.",
                    (f"sum by (kind) ({_rate(_DONE + 'periodical_total')})", "{{kind}}"),
                    unit="cps",
                ),
                series(
                    "Largest plan of a minute",
                    "Actions; 0 at rest.",
                    (f"sum by (kind) ({_of(_P + 'plan_size')})", "{{kind}}"),
                ),
                series(
                    "Not as declared",
                    "Falls to 0 by itself, or somebody has to act.",
                    (f"sum by (kind) ({_of(_P + 'plan_gap')})", "{{kind}}"),
                    warn=1,
                ),
            ),
        ),
        Row(
            "Rollouts and balance",
            (
                series(
                    "A roll waits",
                    "For which node, and why. NodeNotServing: its pod. NotSafeYet: partitions that lack replicas.",
                    (
                        _of(_P + "rollout_blocked_seconds"),
                        "{{namespace}}/{{name}}: node {{node}}, {{cause}}",
                    ),
                    unit="s",
                    warn=300,
                    bad=900,
                ),
                series(
                    "Nodes left to roll",
                    "Falls to 0 node by node.",
                    (_of(_P + "rollout_nodes_left"), "{{namespace}}/{{name}}"),
                ),
                series(
                    "Most leaderships on a broker",
                    "Above the least possible for minutes: status.balance.message says what is waited for.",
                    (_of(_P + "balance_leaders_max"), "{{namespace}}/{{name}}"),
                    (_of(_P + "balance_leaders_optimum"), "{{namespace}}/{{name}}: least possible"),
                ),
                series(
                    "Replicas to move",
                    "Of the last plan. Under way and none arrives: a broker does not copy, or the throttle is too low.",
                    (_of(_P + "balance_plan_moves"), "{{namespace}}/{{name}}: planned"),
                    (_of(_P + "balance_plan_moves_done"), "{{namespace}}/{{name}}: arrived"),
                    (_of(_P + "balance_moves_in_flight"), "{{namespace}}/{{name}}: under way"),
                ),
                series(
                    "Bytes to move",
                    "Of the last plan, and what any plan to the same end has to copy.",
                    (_of(_P + "balance_plan_bytes"), "{{namespace}}/{{name}}: planned"),
                    (_of(_P + "balance_plan_lower_bound_bytes"), "{{namespace}}/{{name}}: least possible"),
                    unit="bytes",
                ),
                series(
                    "Plan above the least possible",
                    "The gap to the proven bound.",
                    (_of(_P + "balance_plan_gap_ratio"), "{{namespace}}/{{name}}"),
                    unit="percentunit",
                ),
                series(
                    "Fullest broker against the mean",
                    "Before and after the last plan; 1 is even.",
                    (_of(_P + "balance_plan_imbalance_ratio"), "{{namespace}}/{{name}}: {{when}}"),
                    decimals=2,
                ),
                series(
                    "Rate for moves",
                    "What each broker may send, and take; there only while replicas move.",
                    (_of(_P + "balance_throttle_bytes_per_second"), "{{namespace}}/{{name}}"),
                    unit="Bps",
                ),
            ),
        ),
        Row(
            "Kubernetes",
            (
                series(
                    "Events heard",
                    "",
                    (f"sum by (resource) ({_rate(_P + 'events_total')})", "{{resource}}"),
                    unit="cps",
                ),
                series(
                    "Writes",
                    "A settled namespace has only the Lease's. Steady others: a runaway loop.",
                    (f"sum by (resource, verb) ({_rate(_P + 'writes_total')})", "{{resource}} {{verb}}"),
                    unit="cps",
                ),
                series(
                    "Refused by the API server",
                    "403: rights are missing. 409 now and then is normal. 0: it does not answer.",
                    (f"sum by (resource, code) ({_rate(_P + 'api_errors_total')})", "{{resource}} {{code}}"),
                    unit="cps",
                ),
                series(
                    "Watches, since the last event",
                    "Grows while nothing changes.",
                    (f"{_P}watch_age_seconds", "{{resource}}"),
                    unit="s",
                ),
                series(
                    "Resources",
                    "",
                    (f"sum by (kind) ({_of(_P + 'resources')})", "{{kind}}"),
                ),
                series(
                    "Clusters unready",
                    "",
                    (_of(_P + "cluster_unready_seconds"), "{{namespace}}/{{name}}"),
                    unit="s",
                    warn=300,
                    bad=900,
                ),
            ),
        ),
        Row(
            "Runtime",
            (
                series(
                    "CPU",
                    "In cores.",
                    (_own(_rate("process_cpu_seconds_total")), "{{instance}}"),
                    decimals=2,
                ),
                series("Memory", "", (_own("process_resident_memory_bytes"), "{{instance}}"), unit="bytes"),
                series(
                    "Event loop lag, 99th percentile",
                    "",
                    (
                        _p99("instance, job", _own(_rate("moldau_event_loop_lag_seconds_bucket"))),
                        "{{instance}}",
                    ),
                    unit="s",
                    warn=0.1,
                    bad=1,
                ),
            ),
        ),
    ),
)

"""Who decides, and does everybody follow?"""

from __future__ import annotations

from dashboards.grafana import Dashboard, Row, series, stat
from dashboards.promql import CLUSTER, NAMESPACE, by, of, rate, total

_RAFT = "kafka_server_raftmetrics_"
_CHANNEL = "kafka_server_raftchannelmetrics_"
_CONTROLLER = "kafka_controller_kafkacontroller_"
_NODE = "{{instance}}"

QUORUM = Dashboard(
    uid="moldau-quorum",
    title="moldau / Raft and controller",
    help="The metadata quorum and the active controller: who decides, and does everybody follow.",
    variables=(NAMESPACE, CLUSTER),
    rows=(
        Row(
            "Now",
            (
                stat(
                    "Active controllers",
                    f"sum({of(_CONTROLLER + 'activecontrollercount')})",
                    "One in each cluster. While there is none, nothing is created, moved or elected; data flows on.",
                ),
                stat("Epoch", f"max({of(_RAFT + 'current_epoch')})", "Counts elections of the quorum."),
                stat(
                    "Voters",
                    f"max({of('moldau_quorum_voters')})",
                    "More than half of them must be up.",
                ),
                stat(
                    "Brokers fenced",
                    f"max({of(_CONTROLLER + 'fencedbrokercount')})",
                    "Their sessions ended: down, cut off, or not ready yet.",
                    bad=1,
                ),
                stat(
                    "Not led by their first replica",
                    f"max({of(_CONTROLLER + 'preferredreplicaimbalancecount')})",
                    "Leaders return by themselves within minutes after a broker is back.",
                    warn=1,
                ),
                stat(
                    "Unclean elections",
                    f"sum({of('kafka_controller_controllerstats_uncleanleaderelections_total')})",
                    "Since the nodes started. Each may have lost acknowledged records.",
                    bad=1,
                ),
            ),
        ),
        Row(
            "Quorum",
            (
                series(
                    "Leader, as each node sees it",
                    "The node's id; -1 while it knows none. Lines apart: a node is cut off.",
                    (of(_RAFT + "current_leader"), _NODE),
                ),
                series(
                    "Epoch, as each node sees it",
                    "Steps are elections. Many: nodes lose each other, or their disks stall.",
                    (of(_RAFT + "current_epoch"), _NODE),
                ),
                series(
                    "Behind the quorum's end",
                    "Metadata records each node lacks. It answers clients with what it knew then.",
                    (
                        f"scalar(max({of(_RAFT + 'log_end_offset')})) - {of(_RAFT + 'log_end_offset')}",
                        _NODE,
                    ),
                    warn=1000,
                ),
                series(
                    "Commit",
                    "From an append to its commit by the majority, on the leader; no line while nothing is written.",
                    (of(_RAFT + "commit_latency_avg"), _NODE),
                    unit="ms",
                    warn=100,
                    bad=1000,
                ),
                series(
                    "Metadata records",
                    "",
                    (f"sum({of(_RAFT + 'append_records_rate')})", "appended by the leader"),
                    (f"sum({of(_RAFT + 'fetch_records_rate')})", "fetched by the others"),
                    unit="cps",
                ),
                series(
                    "Traffic between the nodes",
                    "",
                    (by("instance", rate(_CHANNEL + "incoming_byte_total")), "{{instance}} in"),
                    (by("instance", rate(_CHANNEL + "outgoing_byte_total")), "{{instance}} out"),
                    unit="Bps",
                ),
            ),
        ),
        Row(
            "Controller",
            (
                series(
                    "Active controller",
                    "1 on the node that is it.",
                    (of(_CONTROLLER + "activecontrollercount"), _NODE),
                ),
                series(
                    "Elections of partitions",
                    "After a broker went or came back; otherwise something flaps.",
                    (total("moldau_leader_elections_total"), "elections"),
                    unit="cps",
                ),
                series(
                    "Brokers",
                    "",
                    (f"max({of(_CONTROLLER + 'activebrokercount')})", "active"),
                    (f"max({of(_CONTROLLER + 'fencedbrokercount')})", "fenced"),
                ),
                series(
                    "Heartbeat, age",
                    "Since the controller answered a broker. At broker.session.timeout.ms (9 s) it is fenced.",
                    (of("moldau_broker_session_age_seconds"), _NODE),
                    unit="s",
                    warn=4,
                    bad=9,
                ),
                series(
                    "Partitions",
                    "",
                    (f"max({of(_CONTROLLER + 'globalpartitioncount')})", "partitions"),
                    (f"max({of(_CONTROLLER + 'offlinepartitionscount')})", "offline"),
                ),
                series(
                    "Metadata each node acts on",
                    "Offset of the metadata log. Lines that part: a node does not follow.",
                    (of("moldau_metadata_offset"), _NODE),
                ),
            ),
        ),
    ),
)

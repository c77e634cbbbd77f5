"""The configuration: where values come from, what is refused, and in which words."""

import pytest

from moldau_broker.server.config import ConfigError, environment_name, load_config
from moldau_broker.server.exit_codes import ExitCode
from moldau_broker.server.handlers.spec import ListenerKind


@pytest.fixture
def properties(tmp_path):
    """Writes a server.properties and gives its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "server.properties"
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write


def _problems(**sources):
    with pytest.raises(ConfigError) as caught:
        load_config(**sources)
    return caught.value.problems


def test_config_without_any_source_is_usable():
    """A broker starts without a single setting, on loopback."""
    config = load_config()
    assert [(one.kind, one.host) for one in config.listeners] == [
        (ListenerKind.CLIENT, "127.0.0.1"),
        (ListenerKind.INTERNAL, "127.0.0.1"),
        (ListenerKind.CONTROLLER, "127.0.0.1"),
    ]
    assert config.node.id == 1
    assert config.warnings == ()
    assert config.http.host == "127.0.0.1"


def test_config_precedence(properties):
    """A flag beats the environment, the environment beats the file, the file beats the default."""
    file = properties("node.id=2\nnum.partitions=2\ndefault.replication.factor=2\n")
    environment = {"MOLDAU_NODE_ID": "3", "MOLDAU_NUM_PARTITIONS": "3"}
    config = load_config(file, ["node.id=4", "node.id=5"], environment)
    assert (config.node.id, config.topics.num_partitions, config.topics.replication_factor) == (5, 3, 2)
    assert config.network.fetch_max_bytes == 52428800


def test_config_a_file_may_refer_to_the_environment(properties):
    """What only the machine knows is filled in; a value that is nothing but an empty variable is left out."""
    file = properties(
        "listeners=CLIENT://:9092\nadvertised.listeners=CLIENT://${env:HOST_IP}:31000\nbroker.rack=${env:ZONE}\n"
    )
    config = load_config(file, environment={"HOST_IP": "10.0.0.7", "ZONE": ""})
    assert config.listeners[0].advertised_host == "10.0.0.7"
    assert config.node.rack is None
    problems = _problems(file=file, environment={"ZONE": "a"})
    assert any("the environment has no HOST_IP" in problem for problem in problems)


def test_config_a_file_may_refer_to_another_file(properties, tmp_path):
    """By a key that the environment knows; one that is not there counts as empty, a missing file is said."""
    zones = tmp_path / "zones.properties"
    zones.write_text("machine-1=zone-a\nmachine-2=zone-b\n")
    text = f"broker.rack=${{file:{zones}:${{env:MACHINE}}}}\n"
    assert load_config(properties(text), environment={"MACHINE": "machine-2"}).node.rack == "zone-b"
    assert load_config(properties(text), environment={"MACHINE": "machine-3"}).node.rack is None
    zones.unlink()
    problems = _problems(file=properties(text), environment={"MACHINE": "machine-1"})
    assert any("broker.rack=${file:" in problem and "zones" in problem for problem in problems)


def test_config_stock_kafka_file_starts(properties):
    """The settings of the file that Kafka ships start here; those without effect are named once."""
    config = load_config(
        properties(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n"
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n"
            "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n"
            "controller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n"
            "num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n"
            "socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\nlog.dirs=kraft-logs\n"
            "num.partitions=1\nnum.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n"
            "share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n"
            "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
            "log.retention.hours=168\nlog.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n"
        )
    )
    assert [(one.name, one.kind, one.advertised_host) for one in config.listeners] == [
        ("PLAINTEXT", ListenerKind.INTERNAL, "localhost"),
        ("CONTROLLER", ListenerKind.CONTROLLER, "localhost"),
    ]
    assert config.frame_bytes_max() == 104857600
    assert len(config.warnings) == 1
    assert "num.io.threads" in config.warnings[0]
    assert "log.retention.hours" not in config.warnings[0]
    assert config.ignored["num.io.threads"] == "8"


def test_config_collects_all_problems(properties):
    """One start shows every mistake, each with its origin."""
    problems = _problems(
        file=properties("num.partitions=0\n\nlog.retention.hour=5\nssl.key.password=hush\n"),
        sets=["listeners=PLAINTEXT:9092", "nonsense", "process.roles=breaker"],
        environment={"MOLDAU_NODE_ID": "one"},
    )
    text = "\n".join(problems)
    assert "num.partitions=0: must be at least 1" in text
    assert "server.properties:1" in text
    assert "did you mean log.retention.hours?" in text
    assert "server.properties:3" in text
    assert "TLS is not served yet" in text
    assert "hush" not in text
    assert "listeners=PLAINTEXT:9092" in text
    assert "--set nonsense: must look like key=value" in text
    assert "node.id=one: must be a whole number (MOLDAU_NODE_ID)" in text
    assert "process.roles=breaker: name broker, controller or both" in text
    assert len(problems) == 7


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("log.dirs=a,b", "exactly one directory"),
        ("log.dirs=", "exactly one directory"),
        ("metadata.log.dir=elsewhere", "kept in the data directory"),
        ("controller.quorum.voters=1@a:1,2@b:2", "more than one node"),
        ("controller.quorum.bootstrap.servers=a:1,b", "must look like HOST:PORT"),
        ("process.roles=broker", "needs controller.quorum.bootstrap.servers"),
        ("replica.fetch.wait.max.ms=20000", "must be below replica.lag.time.max.ms"),
        ("broker.heartbeat.interval.ms=5000", "at most half of broker.session.timeout.ms"),
        ("replica.selector.class=com.example.Mine", "no classes are loaded"),
        ("controller.quorum.voters=2@localhost:9093", "must be this node, 1@"),
        ("group.min.session.timeout.ms=1800001", "must not be above"),
        ("log.cleaner.max.compaction.lag.ms=5,log.cleaner.min.compaction.lag.ms=6", "whole number"),
        ("max.connections.per.ip.overrides=x", "ADDRESS:COUNT"),
        ("retention.ms=5", "is a topic setting"),
        ("http.port=70000", "between -1 and 65535"),
        ("authorizer.class.name=x", "no authorizer"),
        ("log.retention.hours=0", "at least 1, or -1"),
    ],
)
def test_config_refuses(setting, words):
    """What cannot be done is refused in words that say what to do."""
    assert words in "\n".join(_problems(sets=[setting]))


def test_config_contradiction_across_settings():
    """Two settings that cannot both hold are refused together."""
    text = "\n".join(
        _problems(sets=["log.cleaner.max.compaction.lag.ms=5", "log.cleaner.min.compaction.lag.ms=6"])
    )
    assert "log.cleaner.min.compaction.lag.ms=6 must not be above" in text


def test_config_unreadable_file(tmp_path):
    """A missing file is one line, not a traceback."""
    assert "cannot read" in _problems(file=str(tmp_path / "none"))[0]


def test_config_broken_escape_names_the_line(properties):
    """A syntax error points at file and line."""
    assert "line 2" in _problems(file=properties("a=1\nb=\\u1\n"))[0]


def test_config_reads_latin_1_like_java(properties):
    """A file that is not UTF-8 is read as Java would."""
    assert load_config(properties("broker.rack=caf\xe9\n", "latin-1")).node.rack == "caf\xe9"
    assert load_config(properties("broker.rack=caf\xe9\n")).node.rack == "caf\xe9"


def test_config_environment_ignores_what_is_not_ours():
    """Kubernetes' service variables and other programs' names pass; a likely slip is reported."""
    config = load_config(
        environment={
            "MOLDAU_SERVICE_HOST": "10.0.0.1",
            "MOLDAU_PORT_9092_TCP_ADDR": "10.0.0.1",
            "MOLDAU_KAFKA_FACTS": "x",
            "MOLDAU_LOG_RETENTION_MSS": "5",
            "PATH": "/bin",
        }
    )
    assert len(config.warnings) == 1
    assert "did you mean MOLDAU_LOG_RETENTION_MS?" in config.warnings[0]


def test_config_environment_knows_kafkas_other_settings():
    """A Kafka setting without effect is recognized in the environment too, and a dangerous one refused."""
    assert "num.io.threads" in load_config(environment={"MOLDAU_NUM_IO_THREADS": "4"}).warnings[0]
    assert "TLS" in _problems(environment={"MOLDAU_SSL_KEYSTORE_LOCATION": "x"})[0]


def test_environment_name():
    """Upper case, dots as underscores."""
    assert environment_name("log.retention.ms") == "MOLDAU_LOG_RETENTION_MS"


def test_config_old_name_of_the_node_id():
    """broker.id still names the node."""
    assert load_config(sets=["broker.id=9"]).node.id == 9


def test_config_topic_defaults_follow_the_broker():
    """The broker's log settings are what a topic without its own gets."""
    config = load_config(sets=["log.retention.minutes=2", "message.max.bytes=2000000"])
    assert (config.topic_defaults.retention_ms, config.topic_defaults.max_message_bytes) == (
        120_000,
        2_000_000,
    )


def test_frame_limit_grows_with_the_largest_batch_unless_set():
    """A topic's max.message.bytes must fit a frame; an explicit frame limit is kept."""
    assert load_config().frame_bytes_max() == 16 * 1024 * 1024
    assert load_config().frame_bytes_max(50_000_000) == 50_000_000 + 65536
    assert load_config(sets=["message.max.bytes=30000000"]).frame_bytes_max() == 30_000_000 + 65536
    assert load_config(sets=["socket.request.max.bytes=1000000"]).frame_bytes_max(50_000_000) == 1_000_000


def test_dynamic_settings_lie_over_static_ones():
    """What the metadata log says wins, and taking it away brings the static value back."""
    config = load_config(sets=["max.connections=10", "log.retention.ms=1"])
    changed = config.with_dynamic({"max.connections": "20", "log.retention.ms": "2"})
    assert (changed.network.connections_max, changed.topic_defaults.retention_ms) == (20, 2)
    assert changed.explicit["max.connections"] == "20"
    assert changed.static["max.connections"] == "10"
    assert changed.with_dynamic({}).network.connections_max == 10


def test_dynamic_setting_that_cannot_be_used_is_left_out():
    """A broker does not die of another version's setting; it says that it ignores it."""
    config = load_config().with_dynamic(
        {"max.connections": "many", "node.id": "9", "foo": "1", "log.retention.ms": "3"}
    )
    assert (config.network.connections_max, config.node.id, config.topic_defaults.retention_ms) == (
        10_000,
        1,
        3,
    )
    assert len(config.warnings) == 3


def test_connection_overrides_are_parsed():
    """Counts by address, ready for the listener."""
    assert load_config(sets=["max.connections.per.ip.overrides=10.0.0.1:5"]).per_ip_connections == {
        "10.0.0.1": 5
    }


def test_exit_codes_are_documented():
    """Every exit status is fixed: supervisors know them."""
    assert {code.name: int(code) for code in ExitCode} == {
        "CLEAN": 0,
        "CRASH": 1,
        "USAGE": 2,
        "DATA_LOCKED": 3,
        "PORT_TAKEN": 4,
        "DATA_UNUSABLE": 5,
    }

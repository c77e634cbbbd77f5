"""What the broker says it serves, held against what a real broker of Apache Kafka 4.3.1 said of itself."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.compat.conftest import Broker, KafkaTools

from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.codec import decode
from moldau_broker.wire.framing import encode_request
from moldau_broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

pytestmark = pytest.mark.compat

REAL = json.loads((Path(__file__).parents[1] / "data/kafka/broker_api_versions.json").read_text())
NOT_SERVED_YET = {
    *(17, 36),  # SASL
    *(24, 25, 26, 27, 28, 65, 66),  # transactions
    *(29, 30, 31, 38, 39, 40, 41, 48, 49, 50, 51),  # ACLs, delegation tokens, quotas, SCRAM
    34,  # AlterReplicaLogDirs: there is one directory
    *(
        69,
        76,
        77,
        78,
        79,
        *range(83, 93),
    ),  # KIP-848 (its heartbeat is there to be refused), share, streams groups
}


CONTROLLER = json.loads((Path(__file__).parents[1] / "data/kafka/controller_api_versions.json").read_text())
NOT_SERVED_BY_CONTROLLER_YET = {
    *(17, 36),  # SASL
    *(29, 30, 31, 38, 39, 40, 41, 49, 50, 51),  # ACLs, delegation tokens, quotas, SCRAM
    32,  # DescribeConfigs: the settings of a controller that is no broker
    58,  # Envelope: requests are passed on as they are, there is no principal to carry
    70,  # registration of controllers
}


def api_versions(bootstrap: str, version: int) -> ApiVersionsResponse:
    request = ApiVersionsRequest(client_software_name="moldau-tests", client_software_version="1")
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as answer:
        connection.sendall(encode_request(ApiKey.API_VERSIONS, version, 7, "tests", request))
        body = answer.read(int.from_bytes(answer.read(4), "big"))
    assert int.from_bytes(body[:4], "big") == 7
    return decode(ApiVersionsResponse, version, body, 4)[0]


@pytest.mark.parametrize("version", range(5))
def test_api_versions_are_those_of_kafka(shared_broker: Broker, version: int) -> None:
    """Every API we serve has the range a real broker advertises, and none is missing that is not named above."""
    answer = api_versions(shared_broker.bootstrap, version)

    ours = {(row.api_key, row.min_version, row.max_version) for row in answer.api_keys}
    kafkas = {(row["key"], row["min"], row["max"]) for row in REAL["ranges"]}
    assert answer.error_code == 0
    assert ours == {row for row in kafkas if row[0] not in NOT_SERVED_YET}


def test_controllers_api_versions_are_those_of_kafkas_controller() -> None:
    """The controller listener serves the controller's APIs in the ranges of a real one, and none of a broker's."""
    with EmbeddedBroker() as broker:
        answer = api_versions(f"127.0.0.1:{broker.ports['CONTROLLER']}", 4)

    ours = {(row.api_key, row.min_version, row.max_version) for row in answer.api_keys}
    kafkas = {(row["key"], row["min"], row["max"]) for row in CONTROLLER["ranges"]}
    assert ours == {row for row in kafkas if row[0] not in NOT_SERVED_BY_CONTROLLER_YET}
    assert ApiKey.PRODUCE not in {row.api_key for row in answer.api_keys}


def test_finalized_features_have_kafkas_levels(shared_broker: Broker) -> None:
    """Levels equal a fresh 4.3.1 cluster's, for the features whose APIs are served."""
    answer = api_versions(shared_broker.bootstrap, 4)

    ours = {feature.name: feature.max_version_level for feature in answer.finalized_features}
    assert ours.items() <= REAL["finalized_features"].items()
    assert {"metadata.version", "kraft.version", "eligible.leader.replicas.version"} <= set(ours)
    assert not {"transaction.version", "group.version", "share.version", "streams.version"} & set(ours)
    supported: dict[str, Any] = {row.name: row for row in answer.supported_features}
    for name, level in ours.items():
        assert supported[name].min_version <= level <= supported[name].max_version


@pytest.mark.java
def test_javas_broker_api_versions_names_every_api(shared_broker: Broker, kafka_tools: KafkaTools) -> None:
    """kafka-broker-api-versions finds a usable version of each API served, and calls none of them unknown."""
    printed = kafka_tools.run(
        "kafka-broker-api-versions", "--bootstrap-server", shared_broker.bootstrap
    ).stdout

    lines = [line.strip() for line in printed.splitlines() if "(" in line and "UNSUPPORTED" not in line]
    served = {int(line.split("(")[1].split(")")[0]) for line in lines[1:]}
    assert served == {row["key"] for row in REAL["ranges"]} - NOT_SERVED_YET
    assert "UNKNOWN" not in printed

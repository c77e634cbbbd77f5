"""Feature levels go up when everybody can run them; the words are those of Apache Kafka 4.3's controller."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.elections import ELR_FEATURE
from moldau_broker.metadata.image import ResourceType
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_registration import Feature
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from moldau_broker.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

UPGRADE, SAFE_DOWNGRADE = 1, 2
ALL_FAILED = "The update failed for all features since the following feature had an error: "


@pytest.fixture
def cluster() -> ControlBench:
    """A cluster of the version before the ELR, with one broker of this version."""
    bench = ControlBench(elr=False)
    bench.add_brokers(1)
    return bench


def update(
    cluster: ControlBench, *levels: tuple[str, int], kind: int = UPGRADE, validate_only: bool = False
) -> UpdateFeaturesResponse:
    response = cluster.ask(
        ApiKey.UPDATE_FEATURES,
        UpdateFeaturesRequest(
            feature_updates=[
                FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=kind)
                for name, level in levels
            ],
            validate_only=validate_only,
        ),
    )
    assert isinstance(response, UpdateFeaturesResponse)
    return response


def test_level_goes_up(cluster: ControlBench) -> None:
    """And is finalized from then on; the same level again is fine and writes nothing."""
    assert update(cluster, (ELR_FEATURE, 1)).error_code == ErrorCode.NONE
    assert cluster.image.features[ELR_FEATURE] == 1
    assert update(cluster, (ELR_FEATURE, 1), ("metadata.version", 30)).error_code == ErrorCode.NONE
    assert cluster.written == ()


def test_validation_writes_nothing(cluster: ControlBench) -> None:
    """It is a dry run."""
    assert update(cluster, (ELR_FEATURE, 1), validate_only=True).error_code == ErrorCode.NONE
    assert ELR_FEATURE not in cluster.image.features


@pytest.mark.parametrize(
    ("name", "level", "kind", "text"),
    [
        ("nonsense", 1, UPGRADE, "Local controller 100 does not support this feature."),
        ("metadata.version", 31, UPGRADE, "Local controller 100 only supports versions 30"),
        (ELR_FEATURE, 2, UPGRADE, "Local controller 100 only supports versions 0-1"),
        (ELR_FEATURE, 1, SAFE_DOWNGRADE, "Can't downgrade to a newer version."),
        ("kraft.version", 1, UPGRADE, "The quorum's own records set it."),
    ],
)
def test_update_is_refused(cluster: ControlBench, name: str, level: int, kind: int, text: str) -> None:
    """In words, and nothing changes."""
    before = cluster.image
    response = update(cluster, (name, level), kind=kind)
    assert response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert response.error_message == (
        f"{ALL_FAILED}Invalid update version {level} for feature {name}. {text}"
    )
    assert {result.error_code for result in response.results} == {ErrorCode.INVALID_UPDATE_VERSION}
    assert cluster.image is before


def test_one_refusal_fails_the_whole_request(cluster: ControlBench) -> None:
    """What could have been raised is not."""
    response = update(cluster, (ELR_FEATURE, 1), ("nonsense", 1))
    assert response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert ELR_FEATURE not in cluster.image.features


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (UPGRADE, "without setting the upgrade type to either safe or unsafe downgrade."),
        (SAFE_DOWNGRADE, "This version does not lower feature levels."),
    ],
)
def test_levels_do_not_go_down(kind: int, text: str) -> None:
    """Refused in words, whichever way it is asked."""
    bench = ControlBench()
    bench.add_brokers(1)
    response = update(bench, (ELR_FEATURE, 0), kind=kind)
    assert response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert text in (response.error_message or "")


def test_level_waits_for_the_last_broker_that_cannot_run_it(cluster: ControlBench) -> None:
    """It is named; fenced ones count, for they come back."""
    cluster.register(
        2,
        features=[Feature(name="metadata.version", min_supported_version=30, max_supported_version=30)],
    )
    response = update(cluster, (ELR_FEATURE, 1))
    assert response.error_message is not None
    assert response.error_message.endswith("Broker 2 does not support this feature.")


def test_requests_that_make_no_sense_are_refused(cluster: ControlBench) -> None:
    """A feature named twice, a kind that is none."""
    assert update(cluster, (ELR_FEATURE, 1), (ELR_FEATURE, 1)).error_code == ErrorCode.INVALID_REQUEST
    assert update(cluster, (ELR_FEATURE, 1), kind=9).error_code == ErrorCode.INVALID_REQUEST


def test_elr_makes_min_insync_one_value_for_the_cluster(cluster: ControlBench) -> None:
    """Single brokers' values go: the controller and every leader must agree (KIP-966)."""

    def set_min_insync(name: str, value: str) -> ErrorCode:
        response = cluster.ask(
            ApiKey.INCREMENTAL_ALTER_CONFIGS,
            IncrementalAlterConfigsRequest(
                resources=[
                    AlterConfigsResource(
                        resource_type=ResourceType.BROKER,
                        resource_name=name,
                        configs=[AlterableConfig(name="min.insync.replicas", value=value)],
                    )
                ]
            ),
        )
        return ErrorCode(response.responses[0].error_code)

    assert set_min_insync("1", "3") == ErrorCode.NONE
    update(cluster, (ELR_FEATURE, 1))
    assert cluster.image.config(ResourceType.BROKER, "1") == {}
    assert cluster.image.config(ResourceType.BROKER, "") == {"min.insync.replicas": "1"}
    assert set_min_insync("1", "3") == ErrorCode.INVALID_CONFIG
    assert set_min_insync("", "2") == ErrorCode.NONE

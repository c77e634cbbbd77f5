"""Neglecting a setting silently must not be dangerous, and a typo must not go unnoticed."""

import pytest

from moldau_broker.base.known_config import KNOWN_SETTINGS
from moldau_broker.base.refused_config import is_known, nearest, refusal, unknown_name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ssl.keystore.location", "/etc/key.jks", "TLS is not served"),
        ("ssl.client.auth", "required", "TLS is not served"),
        ("sasl.enabled.mechanisms", "PLAIN", "nobody would be authenticated"),
        ("listener.name.client.ssl.keystore.type", "PEM", "TLS is not served"),
        ("listener.name.client.plain.sasl.jaas.config", "...", "nobody would be authenticated"),
        ("authorizer.class.name", "org.example.Authorizer", "no authorizer"),
        ("super.users", "User:admin", "no authorizer"),
        ("create.topic.policy.class.name", "org.example.Policy", "would not be enforced"),
        ("security.inter.broker.protocol", "SSL", "TLS is not served"),
        ("config.providers", "env", "would not be replaced"),
        ("config.providers.env.class", "org.example.Env", "would not be replaced"),
        ("remote.log.storage.system.enable", "true", "no remote storage"),
        ("delegation.token.secret.key", "hush", "nobody would be authenticated"),
        ("zookeeper.connect", "localhost:2181", "ZooKeeper is gone"),
    ],
)
def test_dangerous_setting_is_refused(name, value, words):
    """Who asks for protection does not get a broker that only looks protected."""
    assert is_known(name)
    assert words in (refusal(name, value) or "")


def test_secret_is_not_shown():
    """A refusal never prints a password."""
    text = refusal("ssl.keystore.password", "hunter2") or ""
    assert "hunter2" not in text
    assert "ssl.keystore.password" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssl.client.auth", "none"),
        ("security.inter.broker.protocol", "PLAINTEXT"),
        ("authorizer.class.name", ""),
        ("remote.log.storage.system.enable", "FALSE"),
        ("num.io.threads", "64"),
        ("listener.name.client.num.network.threads", "3"),
        ("sasl.kerberos.ticket.renew.jitter", "0.05"),
    ],
)
def test_harmless_setting_passes(name, value):
    """Kafka's own defaults, and settings that only tune Kafka's inside, do not stop a start."""
    assert is_known(name)
    assert refusal(name, value) is None


def test_every_default_of_kafka_passes():
    """A file that spells out Kafka's defaults starts here."""
    refused = [
        name for name, setting in KNOWN_SETTINGS.items() if setting.default and refusal(name, setting.default)
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log.retention.hour", "did you mean log.retention.hours?"),
        ("Node.Id", "did you mean node.id?"),
        ("num.io.thread", "did you mean num.io.threads?"),
        (
            "retention.ms",
            "a topic setting, not a broker setting; its default for all topics is log.retention.ms",
        ),
        ("remote.storage.enable", "a topic setting"),
        ("completely.else", "is not a broker setting"),
    ],
)
def test_unknown_name_is_named_with_the_nearest(name, words):
    """A typo is answered with the name that was probably meant."""
    assert not is_known(name)
    assert words in unknown_name(name)


def test_nearest_stays_quiet_when_nothing_is_near():
    """No suggestion is better than a wild one."""
    assert nearest("zzzzzz", ["node.id"]) is None
    assert "did you mean" not in unknown_name("zzzzzzzzzzz")

"""Listener settings become sockets: kinds, addresses, and what clients are told."""

import pytest

from moldau_broker.base.broker_config import ListenerSettings, build_group
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.server.listeners_config import ListenerError, build_listeners, client_listener


def _build(**settings):
    names = {key.replace("_", "."): value for key, value in settings.items()}
    return build_listeners(build_group(ListenerSettings, names), "this-host")


def test_listener_kinds_follow_the_names():
    """Controller names, the brokers' name, and the rest for clients."""
    listeners = _build(
        listeners="A://127.0.0.1:1,B://127.0.0.1:2,C://127.0.0.1:3,D://127.0.0.1:4",
        inter_broker_listener_name="b",
        controller_listener_names="c,X",
    )
    assert [(one.name, one.kind.value) for one in listeners] == [
        ("A", "client"),
        ("B", "internal"),
        ("C", "controller"),
        ("D", "client"),
    ]
    assert client_listener(listeners).name == "A"


def test_listener_between_brokers_is_plaintext_or_internal_by_default():
    """Kafka's default name, or ours; a single listener serves clients too."""
    assert _build(listeners="PLAINTEXT://h:1")[0].kind is ListenerKind.INTERNAL
    assert _build(listeners="INTERNAL://h:1,PLAINTEXT://h:2")[1].kind is ListenerKind.CLIENT
    assert _build(listeners="ANY://h:1")[0].kind is ListenerKind.CLIENT
    assert client_listener(_build(listeners="PLAINTEXT://h:1")).name == "PLAINTEXT"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("A://127.0.0.1:0", "127.0.0.1", 0),
        ("a://[::1]:9092", "::1", 9092),
        ("A://host-1.example_x:65535", "host-1.example_x", 65535),
        ("A://:9092", "", 9092),
        ("A://[::]:9092", "", 9092),
    ],
)
def test_listener_addresses(text, host, port):
    """Names, IPv4, IPv6 in brackets, every interface, any free port."""
    (listener,) = _build(listeners=text)
    assert (listener.name, listener.host, listener.port) == ("A", host, port)
    assert listener.advertised_host == (host or "this-host")
    assert listener.advertised_port == port


def test_listener_advertises_what_it_is_told():
    """Clients are told the advertised host and port."""
    (listener,) = _build(listeners="A://0.0.0.0:9092", advertised_listeners="A://kafka.example:19092")
    assert (listener.host, listener.advertised_host, listener.advertised_port) == (
        "0.0.0.0",
        "kafka.example",
        19092,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listeners": ""}, "is empty"),
        ({"listeners": "127.0.0.1:9092"}, "NAME://HOST:PORT"),
        ({"listeners": "A://h:65536"}, "NAME://HOST:PORT"),
        ({"listeners": "A://h:-1"}, "NAME://HOST:PORT"),
        ({"listeners": "A://::1:9092"}, "NAME://HOST:PORT"),
        ({"listeners": "A://h:1,a://h:2"}, "names A twice"),
        ({"listeners": "A://h:1,B://h:1"}, "share port 1"),
        ({"listeners": "A://h:1,B://:1"}, "share port 1"),
        ({"listeners": "A://0.0.0.0:1"}, "advertised.listeners must say"),
        ({"listeners": "A://h:1", "advertised_listeners": "B://h:1"}, "not in listeners (A)"),
        ({"listeners": "A://h:1", "advertised_listeners": "A://0.0.0.0:1"}, "cannot connect"),
        ({"listeners": "A://h:1", "inter_broker_listener_name": "B"}, "not one of the brokers' listeners"),
        ({"listeners": "CONTROLLER://h:1", "inter_broker_listener_name": "CONTROLLER"}, "there are none"),
        ({"listeners": "SSL://h:1"}, "asks for SSL, which is not served yet"),
        ({"listeners": "A://h:1", "listener_security_protocol_map": "A:SASL_SSL"}, "asks for SASL_SSL"),
        ({"listeners": "A://h:1", "listener_security_protocol_map": "A=PLAINTEXT"}, "NAME:PLAINTEXT"),
        ({"listeners": "A://h:1", "listener_security_protocol_map": "A:TLS"}, "NAME:PLAINTEXT"),
    ],
)
def test_listener_settings_are_refused(settings, words):
    """What cannot be opened, or would be less safe than asked for, is refused in words."""
    with pytest.raises(ListenerError) as caught:
        _build(**settings)
    assert words in str(caught.value)


def test_listeners_may_share_a_port_on_different_addresses():
    """One port on two addresses is two sockets; port 0 may come many times."""
    assert len(_build(listeners="A://127.0.0.1:1,B://127.0.0.2:1")) == 2
    assert len(_build(listeners="A://127.0.0.1:0,B://127.0.0.1:0")) == 2


def test_client_listener_needs_one():
    """A node that only controllers can reach has nothing to tell clients."""
    with pytest.raises(ListenerError, match="no listener serves clients"):
        client_listener(_build(listeners="CONTROLLER://h:1"))

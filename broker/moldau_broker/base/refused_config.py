"""Settings whose silent neglect would be dangerous, and names nobody knows. Pure.

A file written for Kafka should start here, so harmless settings are only reported. But whoever asks for TLS,
an authorizer or a second disk must not get a broker that looks as if it had them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import Setting, SettingError, clip
from moldau_broker.base.known_config import KNOWN_SETTINGS
from moldau_broker.base.topic_config import TOPIC_SETTINGS

_NO_TLS: Final = "TLS is not served yet: every listener would be plaintext"
_NO_SASL: Final = "SASL is not served yet: nobody would be authenticated"
_NO_ACL: Final = "there is no authorizer yet: everyone may do everything"
_NO_POLICY: Final = "we load no classes: the policy would not be enforced"

REFUSED: Final[Mapping[str, str]] = {
    "authorizer.class.name": _NO_ACL,
    "super.users": _NO_ACL,
    "allow.everyone.if.no.acl.found": _NO_ACL,
    "principal.builder.class": _NO_ACL,
    "security.inter.broker.protocol": _NO_TLS,
    "security.providers": _NO_TLS,
    "connections.max.reauth.ms": _NO_SASL,
    "create.topic.policy.class.name": _NO_POLICY,
    "alter.config.policy.class.name": _NO_POLICY,
    "client.quota.callback.class": _NO_POLICY,
    "config.providers": "values are taken as written: ${...} would not be replaced",
    "remote.log.storage.system.enable": "there is no remote storage: nothing would be moved to it",
}
"""By name: why any value but Kafka's default is refused."""

_REFUSED_PREFIXES: Final = {
    "ssl.": _NO_TLS,
    "sasl.": _NO_SASL,
    "delegation.token.": _NO_SASL,
    "config.providers.": REFUSED["config.providers"],
    "zookeeper.": "ZooKeeper is gone since Kafka 4.0; metadata lives in the quorum",
}
_LISTENER_PREFIX: Final = "listener.name."


def refusal(name: str, text: str) -> str | None:
    """Why the broker must not start with setting `name` at `text`; None when neglecting it is harmless.

    Only for names that `BROKER_SETTINGS` does not hold.
    """
    bare = _bare_name(name)
    reason = REFUSED.get(bare) or next(
        (reason for prefix, reason in _REFUSED_PREFIXES.items() if bare.startswith(prefix)), None
    )
    if reason is None or _is_default(bare, text):
        return None
    return f"{name}={clip(_shown(bare, text))}: {reason}. Remove the setting to go on without it."


def is_known(name: str) -> bool:
    """Whether Kafka (or we) know `name`; a listener's own variant of a setting counts as the setting."""
    bare = _bare_name(name)
    return (
        bare in BROKER_SETTINGS
        or bare in KNOWN_SETTINGS
        or bare in REFUSED
        or any(bare.startswith(prefix) for prefix in _REFUSED_PREFIXES)
    )


def unknown_name(name: str) -> str:
    """What to say of a name that nobody knows, with the nearest one that somebody does."""
    topic = TOPIC_SETTINGS.get(name)
    if topic is not None:
        instead = f"; its default for all topics is {topic.synonyms[0]}" if topic.synonyms else ""
        return f"{name} is a topic setting, not a broker setting{instead}"
    near = nearest(name, BROKER_SETTINGS) or nearest(name, KNOWN_SETTINGS)
    meant = f"; did you mean {near}?" if near else ""
    return f"{clip(name)} is not a broker setting{meant}"


def nearest(name: str, names: Iterable[str], likeness: float = 0.7) -> str | None:
    """The most similar of `names`, at least `likeness` (0..1) alike; None if there is none."""
    import difflib  # only ever needed on the way to an error

    found = difflib.get_close_matches(name[:200], list(names), n=1, cutoff=likeness)
    return found[0] if found else None


def _bare_name(name: str) -> str:
    """`listener.name.LISTENER.SETTING` without its prefix and SASL mechanism; other names as they are."""
    if not name.startswith(_LISTENER_PREFIX):
        return name
    _, _, rest = name[len(_LISTENER_PREFIX) :].partition(".")
    head, _, tail = rest.partition(".")
    return tail if tail.startswith("sasl.") and head != "sasl" else rest


def _setting(name: str) -> Setting | None:
    return BROKER_SETTINGS.get(name) or KNOWN_SETTINGS.get(name)


def _shown(name: str, text: str) -> str:
    setting = _setting(name)
    return "(hidden)" if setting is not None and setting.sensitive else text


def _is_default(name: str, text: str) -> bool:
    """Whether `text` is what Kafka would do anyway."""
    setting = _setting(name)
    if setting is None:
        return False
    try:
        return setting.normalize(text) == setting.normalize(setting.default)
    except SettingError:
        return False

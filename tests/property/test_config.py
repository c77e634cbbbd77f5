"""Whatever is configured, the answer is a configuration or a list of problems."""

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import SettingError
from moldau_broker.base.known_config import KNOWN_SETTINGS
from moldau_broker.base.topic_config import TOPIC_SETTINGS, resolve_topic_config, validate_topic_settings
from moldau_broker.server.config import BrokerConfig, ConfigError, load_config

VALUES = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "true", "compact,delete", "A://h:1", "A://:0,B://[::1]:2", "1@h:1", "a:1,b", "-1", "a,,b"]
    ),
)
NAMES = st.one_of(st.sampled_from([*BROKER_SETTINGS, *KNOWN_SETTINGS, *TOPIC_SETTINGS]), st.text(max_size=12))


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_config_is_made_or_refused_in_words(settings):
    """No combination of names and values fails in another way, and every problem is one short line."""
    try:
        config = load_config(sets=[f"{name}={value}" for name, value in settings.items()])
    except ConfigError as error:
        problems = error.problems
        assert problems
        assert all(len(problem) < 1000 for problem in problems)
    else:
        assert isinstance(config, BrokerConfig)
        assert config.listeners


@given(st.dictionaries(st.sampled_from(list(BROKER_SETTINGS)), VALUES, max_size=6))
def test_dynamic_settings_never_break_a_broker(settings):
    """Whatever the metadata log holds, the broker goes on with what it can use."""
    config = load_config().with_dynamic(settings)
    assert set(config.explicit) <= set(settings)
    assert all(BROKER_SETTINGS[name].dynamic for name in config.explicit)


@given(st.dictionaries(st.sampled_from(list(TOPIC_SETTINGS)), VALUES, max_size=6))
def test_topic_settings_that_validate_also_resolve(overrides):
    """What was accepted can be used; what cannot be used was not accepted."""
    problem = validate_topic_settings(overrides, {})
    if problem is None:
        resolve_topic_config(overrides, {})
    else:
        assert 0 < len(problem) < 1000


@given(st.sampled_from([*BROKER_SETTINGS.values(), *TOPIC_SETTINGS.values()]), VALUES)
def test_normal_form_is_stable(setting, text):
    """Normalizing twice is normalizing once, and both mean the same value."""
    try:
        normal = setting.normalize(text)
    except SettingError:
        normal = None
    if normal is not None:
        assert setting.normalize(normal) == normal
        assert setting.parse(normal) == setting.parse(text)

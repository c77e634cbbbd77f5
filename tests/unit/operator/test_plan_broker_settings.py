"""Settings that brokers take while they run: made true by overrides, and given back."""

from __future__ import annotations

from moldau_operator.plan.broker_settings import plan_broker_settings
from moldau_operator.seams.broker_admin import ConfigChange

BYTES = "log.retention.bytes"
OLD, NEW = {BYTES: "1000"}, {BYTES: "2000"}


def test_what_the_files_say_needs_no_override() -> None:
    """A new cluster starts with everything in its files."""
    plan = plan_broker_settings(OLD, {}, [OLD, OLD], ())
    assert (plan.change, plan.managed) == (None, ())


def test_a_change_reaches_running_brokers_without_a_restart() -> None:
    """An override over every file that says otherwise; the reason names it."""
    plan = plan_broker_settings(NEW, {}, [OLD, NEW], ())
    assert plan.change == ConfigChange(set=NEW)
    assert (plan.reason, plan.managed) == ("log.retention.bytes unset -> 2000", (BYTES,))
    assert plan_broker_settings(NEW, NEW, [OLD], plan.managed).change is None


def test_an_added_setting_is_overridden_where_its_default_ran() -> None:
    """Unless it is the default."""
    assert plan_broker_settings(NEW, {}, [{}], ()).change == ConfigChange(set=NEW)
    assert plan_broker_settings({BYTES: "-1"}, {}, [{}], ()).change is None


def test_what_needs_a_restart_is_none_of_this_plans_business() -> None:
    """The new revision restarts the nodes."""
    assert (
        plan_broker_settings(
            {"max.request.partition.size.limit": "9"}, {}, [{"max.request.partition.size.limit": "1"}], ()
        ).change
        is None
    )


def test_a_setting_taken_away_goes_back_to_its_default() -> None:
    """By an override while a running file still has it; then the override goes too."""
    plan = plan_broker_settings({}, {}, [OLD], ())
    assert plan.change == ConfigChange(set={BYTES: "-1"})
    assert plan_broker_settings({}, {BYTES: "-1"}, [OLD], plan.managed).change is None
    last = plan_broker_settings({}, {BYTES: "-1"}, [{}], plan.managed)
    assert (last.change, last.managed) == (ConfigChange(remove=(BYTES,)), ())


def test_other_peoples_overrides_stay_unless_the_resource_says_otherwise() -> None:
    """A throttle set with Kafka's tools, say; but what is declared wins."""
    assert plan_broker_settings({}, NEW, [{}], ()).change is None
    assert plan_broker_settings(OLD, NEW, [OLD], ()).change == ConfigChange(set=OLD)


def test_two_ways_to_write_a_value_are_one() -> None:
    """No change for a blank or a capital letter."""
    assert plan_broker_settings({BYTES: " 1000"}, OLD, [{}], (BYTES,)).change is None


def test_a_setting_whose_default_is_another_setting_is_dynamic_too() -> None:
    """Retention in milliseconds: what counts without it is what the hours say, declared or not."""
    plan = plan_broker_settings({"log.retention.ms": "1000"}, {}, [{}], ())
    assert plan.change is not None
    assert plan.change.set == {"log.retention.ms": "1000"}
    files = [{"log.retention.ms": "1000"}]
    plan = plan_broker_settings({}, {}, files, ())
    assert plan.change is not None
    assert plan.change.set == {"log.retention.ms": "604800000"}
    plan = plan_broker_settings({"log.retention.hours": "2"}, {}, files, ())
    assert plan.change is not None
    assert plan.change.set == {"log.retention.ms": "7200000"}

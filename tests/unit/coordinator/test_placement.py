"""Groups to partitions of the offsets topic."""

import pytest

from moldau_broker.coordinator.placement import java_string_hash, partition_for


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("The quick brown fox", -1739336029),
        ("polygenelubricants", -(2**31)),
        ("ü", 252),
        ("\U0001f600", 1772899),
    ],
)
def test_placement_hash_is_that_of_java(text: str, value: int) -> None:
    """`String.hashCode` counts UTF-16 units and wraps in 32 bits; values taken from a JVM."""
    assert java_string_hash(text) == value


def test_placement_of_the_least_hash_is_partition_zero() -> None:
    """-2^31 has no absolute value in 32 bits; Kafka's `Utils.abs` makes it 0."""
    assert partition_for("polygenelubricants", 50) == 0


def test_placement_depends_on_the_number_of_partitions() -> None:
    """The absolute hash, modulo the partitions there are."""
    assert partition_for("hello", 50) == 22
    assert partition_for("hello", 7) == 99162322 % 7
    assert partition_for("The quick brown fox", 50) == 1739336029 % 50

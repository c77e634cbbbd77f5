"""Names of topics, folders and files: what is legal, and what is taken for what."""

from __future__ import annotations

import pytest

from moldau_broker.storage import names

BAD_TOPICS = ["", ".", "..", "a/b", "a\0b", "../x", "ä", "a b", "x" * 250, "a\n", "a:b"]


@pytest.mark.parametrize("topic", BAD_TOPICS)
def test_illegal_topics_never_become_folders(topic):
    """Nothing that could leave the data directory passes."""
    assert not names.valid_topic(topic)
    with pytest.raises(ValueError, match="not a partition"):
        names.folder_name(topic, 0)


def test_folder_round_trip():
    """The last dash separates the partition."""
    for topic, partition in (("t", 0), ("a-1", 7), ("__consumer_offsets", 49), ("x" * 249, 9), ("..a", 1)):
        assert names.parse_folder(names.folder_name(topic, partition)) == (topic, partition)


@pytest.mark.parametrize(
    "name", ["t", "t-", "-1", "t-x", "t-01", "t-1.abc-delete", "t-1-stray", "..-1/", "t--1x"]
)
def test_other_folders_are_no_partitions(name):
    """Deleted, stray and foreign folders are not loaded."""
    assert names.parse_folder(name) is None


def test_marked_folders_fit_a_file_name():
    """A long topic's name is cut so that the marked folder stays within 255 bytes."""
    marked = names.marked_folder_name("x" * 249, 100_000, "0" * 32, names.DELETE_FOLDER)
    assert len(marked) == 255
    assert marked.endswith("-100000." + "0" * 32 + "-delete")
    assert names.parse_folder(marked) is None


def test_segment_files():
    """Twenty digits, then everything else is the suffix."""
    assert names.segment_file(42, names.LOG) == "00000000000000000042.log"
    assert names.parse_segment_file("00000000000000000042.log.deleted") == (42, ".log.deleted")
    for other in ("42.log", "leader-epoch-checkpoint", "000000000000000000042.log", "00000000000000000042"):
        assert names.parse_segment_file(other) is None

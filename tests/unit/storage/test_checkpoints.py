"""Checkpoints and the other small files: Kafka's text, and refusal of anything else."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.ids import random_uuid
from moldau_broker.storage import checkpoints as c
from moldau_broker.storage.errors import CorruptLog


def test_offset_checkpoint_is_kafkas_text():
    """Version, count, then topic partition offset."""
    offsets = {("t", 0): 5, ("a.b-c_d", 12): 2**40}
    data = c.encode_offsets(offsets)
    assert data == b"0\n2\nt 0 5\na.b-c_d 12 1099511627776\n"
    assert c.decode_offsets(data) == offsets
    assert c.encode_offsets({}) == b"0\n0\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0\n",
        b"1\n0\n",
        b"0\n1\n",
        b"0\n2\nt 0 5\n",
        b"0\n1\nt 0\n",
        b"0\n1\nt x 5\n",
        b"0\n1\nt 0 -1\n",
        b"0\n2\nt 0 1\nt 0 2\n",
        b"\xff\xfe",
        b"0\n1\nt 0 5 6\n",
    ],
)
def test_offset_checkpoint_that_does_not_add_up_is_refused(data):
    """A torn or flipped checkpoint must not pass for an empty one."""
    with pytest.raises(CorruptLog):
        c.decode_offsets(data)


def test_epoch_checkpoint_is_kafkas_text():
    """Epoch and start offset, both ascending."""
    assert c.encode_epochs([(0, 0), (3, 17)]) == b"0\n2\n0 0\n3 17\n"
    assert c.decode_epochs(b"0\n2\n0 0\n3 17\n") == [(0, 0), (3, 17)]
    for bad in (b"0\n2\n3 17\n0 0\n", b"0\n2\n0 5\n1 5\n", b"0\n1\n-1 5\n", b"0\n1\n0 0 0\n"):
        with pytest.raises(CorruptLog):
            c.decode_epochs(bad)


def test_partition_metadata_round_trip():
    """The topic id in Kafka's form."""
    topic_id = random_uuid(Random(4))
    data = c.encode_partition_metadata(topic_id)
    assert data.startswith(b"version: 0\ntopic_id: ")
    assert c.decode_partition_metadata(data + b"\n") == topic_id
    for bad in (b"", data[:-1], data.replace(b"0", b"1", 1), data.replace(b": ", b"=")):
        with pytest.raises(CorruptLog):
            c.decode_partition_metadata(bad)


def test_meta_properties_as_java_writes_them():
    """Comments, order and escapes of java.util.Properties are understood."""
    data = (
        b"#\n#Sat Nov 21 12:14:29 UTC 2026\nnode.id=1\n"
        b"directory.id=KILg5wQ6QNGo9VlDt1TTvQ\nversion=1\ncluster.id=a\\:b\n"
    )
    values = c.decode_properties(data)
    assert values["node.id"] == "1"
    assert values["cluster.id"] == "a:b"
    assert c.decode_properties(c.encode_properties({"version": "1", "node.id": "2"})) == {
        "version": "1",
        "node.id": "2",
    }
    for bad in (b"version=0\n", b"node.id=1\n", b"version=1\nnonsense\n", b"\xff"):
        with pytest.raises(CorruptLog):
            c.decode_properties(bad)


def test_clean_shutdown_marker_of_every_release():
    """4.3 writes brokerEpoch as a number, older ones strings or nothing."""
    assert c.encode_clean_shutdown(15) == b'{"version":0,"brokerEpoch":15}'
    assert c.decode_clean_shutdown(b'{"version":0,"brokerEpoch":15}') == 15
    assert c.decode_clean_shutdown(b'{"version":"0","broker_epoch":"7"}') == 7
    for other in (b"", b"{}", b"[]", b"\xff"):
        assert c.decode_clean_shutdown(other) == -1

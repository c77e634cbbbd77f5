"""The cleaner's memory of a dirty section."""

from __future__ import annotations

import random

from moldau_broker.storage.compaction_map import SLOT_BYTES, KeyOffsets, OffsetBits


def test_key_offsets_remembers_the_last_offset_of_every_key():
    """A put returns the offset it replaces, a get the last one put, whatever the load."""
    rng = random.Random(7)
    keys = [rng.randbytes(rng.randint(0, 20)) for _ in range(2_000)]
    table = KeyOffsets(3_000, base_offset=1_000_000, load_factor=0.9)
    model: dict[bytes, int] = {}
    for offset in range(1_000_000, 1_010_000):
        key = rng.choice(keys)
        assert table.put(key, offset) == model.get(key, -1)
        model[key] = offset
    assert table.size == len(model)
    for key in keys:
        assert table.get(key) == model.get(key, -1)
    assert all(table.get(b"absent-%d" % number) == -1 for number in range(1_000))


def test_key_offsets_tells_keys_apart_that_share_a_slot():
    """With as few slots as can be, every key collides and none is taken for another."""
    table = KeyOffsets(5, load_factor=0.99)
    for offset, key in enumerate((b"a", b"b", b"c", b"d")):
        assert table.put(key, offset) == -1
    assert [table.get(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [0, 1, 2, 3, -1]


def test_key_offsets_keeps_to_its_size():
    """The number of slots is never above what was asked for, and capacity leaves one free."""
    for slots in (3, 4, 10, 1_000, 65_536):
        table = KeyOffsets(slots, load_factor=1.0)
        assert table.nbytes <= slots * SLOT_BYTES
        assert table.capacity < table.nbytes // SLOT_BYTES


def test_key_offsets_finds_the_empty_key():
    """The empty key hashes to zero, which must not be mistaken for a free slot."""
    table = KeyOffsets(11)
    assert table.get(b"") == -1
    assert table.put(b"", 5) == -1
    assert table.put(b"", 9) == 5
    assert table.get(b"") == 9


def test_offset_bits_slices_by_offset():
    """A slice's bit 0 is its first offset; members outside it do not show."""
    bits = OffsetBits(100, 50)
    for offset in (100, 107, 108, 131, 149):
        bits.add(offset)
    assert bits.slice(100, 149) == 1 | 1 << 7 | 1 << 8 | 1 << 31 | 1 << 49
    assert bits.slice(107, 108) == 0b11
    assert bits.slice(109, 130) == 0
    assert bits.slice(131, 131) == 1

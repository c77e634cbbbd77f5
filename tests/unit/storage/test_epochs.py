"""Leader epochs: which began where, and what OffsetForLeaderEpoch answers."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.storage.epochs import LeaderEpochs

ENTRIES = [(2, 10), (4, 20), (7, 20 + 15)]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (-1, (-1, -1)),
        (0, (0, 10)),
        (1, (1, 10)),
        (2, (2, 20)),
        (3, (2, 20)),
        (4, (4, 35)),
        (6, (4, 35)),
        (7, (7, 50)),
        (8, (-1, -1)),
    ],
)
def test_end_offset_for_epoch(asked, answer):
    """The largest known epoch up to the one asked for, and where it ended; below all, the log's first epoch."""
    assert LeaderEpochs(ENTRIES).end_offset_for(asked, 50) == answer


def test_end_offset_without_any_epoch_is_undefined():
    """An empty log knows nothing."""
    assert LeaderEpochs().end_offset_for(0, 5) == (-1, -1)


def test_assign_ignores_what_is_known_and_drops_what_it_contradicts():
    """A later start of the same epoch changes nothing; an earlier start, or a lower epoch, wins."""
    epochs = LeaderEpochs(ENTRIES)
    version = epochs.version
    assert not epochs.assign(7, 40)
    assert epochs.version == version
    assert epochs.assign(8, 20)
    assert epochs.entries() == [(2, 10), (8, 20)]
    assert epochs.assign(3, 30)
    assert epochs.entries() == [(2, 10), (3, 30)]
    assert epochs.version == version + 2


def test_an_epoch_without_records_leaves_no_trace():
    """A leader that was replaced at once goes on in the epoch before, which began where it did."""
    epochs = LeaderEpochs([(1, 10), (2, 20)])
    assert epochs.assign(3, 30)
    assert epochs.assign(2, 30)
    assert epochs.entries() == [(1, 10), (2, 20)]
    assert epochs.epoch_for(29) == 2
    assert epochs.end_offset_for(1, 40) == (1, 20)


@pytest.mark.parametrize("seed", range(50))
def test_entries_are_those_of_the_batches(seed):
    """Whatever is led in between: after each batch, what is known is what the batches say."""
    rng = Random(seed)
    epochs, batches, epoch = LeaderEpochs(), [], 0
    for _ in range(60):
        end = len(batches)
        what = rng.random()
        if what < 0.3:
            epoch += 1
            epochs.assign(epoch, end)
        elif what < 0.4:
            cut = rng.randint(0, end)
            del batches[cut:]
            epochs.truncate_from_end(cut)
        else:
            last = batches[-1] if batches else 0
            batches.append(rng.randint(last, epoch))
            epochs.assign(batches[-1], end)
            firsts = {}
            for offset, one in enumerate(batches):
                firsts.setdefault(one, offset)
            assert epochs.entries() == list(firsts.items())


@pytest.mark.parametrize(
    ("end", "left"),
    [(0, []), (10, []), (11, ENTRIES[:1]), (20, ENTRIES[:1]), (35, ENTRIES[:2]), (36, ENTRIES)],
)
def test_truncate_from_end_forgets_epochs_that_begin_at_or_after(end, left):
    """What begins at the new end holds no record any more."""
    epochs = LeaderEpochs(ENTRIES)
    epochs.truncate_from_end(end)
    assert epochs.entries() == left


@pytest.mark.parametrize(
    ("start", "left"),
    [
        (5, ENTRIES),
        (10, ENTRIES),
        (15, [(2, 15), (4, 20), (7, 35)]),
        (20, [(4, 20), (7, 35)]),
        (99, [(7, 99)]),
    ],
)
def test_truncate_from_start_keeps_the_epoch_in_force(start, left):
    """The epoch that the new start lies in begins there from now on."""
    epochs = LeaderEpochs(ENTRIES)
    epochs.truncate_from_start(start)
    assert epochs.entries() == left


def test_epoch_for_offset_and_previous_epoch():
    """Look-ups on both sides of every boundary."""
    epochs = LeaderEpochs(ENTRIES)
    assert [epochs.epoch_for(offset) for offset in (9, 10, 19, 20, 34, 35, 99)] == [-1, 2, 2, 4, 4, 7, 7]
    assert [epochs.previous(epoch) for epoch in (2, 3, 4, 7, 9)] == [-1, 2, 2, 4, 7]
    assert epochs.latest == 7
    assert epochs.earliest == (2, 10)

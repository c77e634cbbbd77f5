"""Lines kept from page to page are those that would be written anew."""

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.telemetry.blocks import Blocks
from moldau_broker.telemetry.exposition import Exposition, label_text

OFFSET, EPOCH = "kafka_topic_partition_current_offset", "moldau_partition_leader_epoch"
LABELS = ("topic", "partition")


class Page:
    """One page after the other, through the same blocks."""

    def __init__(self, **options):
        self.blocks = Blocks(**options)
        self.labelled = []

    def render(self, rows):
        """`rows`: partition -> (offset, epoch)."""
        exposition = Exposition()
        self.blocks.begin()
        block = self.blocks.of("some", list(rows), self._label)
        for name, at in ((OFFSET, 0), (EPOCH, 1)):
            block.put(exposition.column(name), [values[at] for values in rows.values()])
        return exposition.text()

    def _label(self, partition):
        self.labelled.append(partition)
        return label_text(LABELS, ("t", str(partition)))


def _plainly(rows):
    exposition = Exposition()
    for name, at in ((OFFSET, 0), (EPOCH, 1)):
        for partition, values in rows.items():
            if values[at] is not None:
                exposition.add(name, values[at], "t", str(partition))
    return exposition.text()


_VALUES = st.one_of(st.none(), st.integers(0, 3), st.sampled_from([0.25, 1.5]))
"""1 and 1.0 are equal, and either may be shown for the other: a metric's values are of one kind."""
_ROWS = st.dictionaries(st.integers(0, 4), st.tuples(_VALUES, _VALUES))


@given(st.lists(_ROWS, max_size=8), st.sampled_from([2, 1000]))
def test_pages_are_the_same_with_and_without_blocks(pages, rows_max):
    """Whatever changes from page to page: values, holes, rows that come, go and change places; also without room."""
    page = Page(rows_max=rows_max)
    for rows in pages:
        assert page.render(rows) == _plainly(rows)


def test_labels_are_made_once_while_rows_stay():
    """And again when they were left out of a page."""
    page = Page()
    for offset in range(3):
        page.render({0: (offset, 1), 1: (5, 1)})
    assert page.labelled == [0, 1]
    page.render({0: (9, 1)})
    page.render({0: (9, 1), 1: (5, 1)})
    assert page.labelled == [0, 1, 0, 0, 1]


def test_rows_beyond_the_limit_are_not_kept():
    """They are shown all the same."""
    page = Page(rows_max=1)
    rows = {0: (1, 1), 1: (2, 1)}
    assert page.render(rows) == page.render(rows) == _plainly(rows)
    assert page.labelled == [0, 1, 0, 1]

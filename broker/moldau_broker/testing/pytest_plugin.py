"""The pytest plugin: a fresh broker as a fixture. Costs nothing until a fixture is used: no import of ours here.

`moldau_broker` is a broker of the test's own, `moldau_shared_broker` one for the whole session, and
`moldau_bootstrap` the address of the former. `moldau_broker_factory(**settings)` makes more. See docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from moldau_broker.testing.broker import EmbeddedBroker


@pytest.fixture
def moldau_broker_factory() -> Iterator[Callable[..., EmbeddedBroker]]:
    """Start brokers with settings of their own: `moldau_broker_factory({"num.partitions": "3"}, http=True)`.

    All are closed after the test.
    """
    from moldau_broker.testing.broker import EmbeddedBroker

    made: list[EmbeddedBroker] = []

    def make(settings: Mapping[str, str] | None = None, *, http: bool = False) -> EmbeddedBroker:
        made.append(EmbeddedBroker(settings, http=http))
        return made[-1].start()

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def moldau_broker(moldau_broker_factory: Callable[..., EmbeddedBroker]) -> EmbeddedBroker:
    """A fresh broker: no topics, no groups, no faults."""
    return moldau_broker_factory()


@pytest.fixture
def moldau_bootstrap(moldau_broker: EmbeddedBroker) -> str:
    """The address of `moldau_broker`, for `bootstrap.servers`."""
    return moldau_broker.bootstrap


@pytest.fixture(scope="session")
def moldau_shared_broker() -> Iterator[EmbeddedBroker]:
    """One broker for the whole session: give every test topics and groups of its own (`create_topic()`)."""
    from moldau_broker.testing.broker import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker

"""How patient the quorum is: times in milliseconds, as values. Pure."""

from __future__ import annotations

from typing import NamedTuple


class RaftTiming(NamedTuple):
    """Times of one node. All but the request time-out are much shorter than Kafka's defaults.

    Failure is to be noticed fast; pre-vote (KIP-996) makes asking too early harmless.

    Attributes:
        election_ms: a candidate gives up after once to twice this (controller.quorum.election.timeout.ms).
        fetch_ms: a follower that got no answer from its leader for this long asks for an election; a leader
            that a majority did not fetch from for one and a half times this resigns
            (controller.quorum.fetch.timeout.ms).
        backoff_max_ms: the longest pause after a lost election (controller.quorum.election.backoff.max.ms).
        request_ms: how long an answer is waited for (controller.quorum.request.timeout.ms).
        retry_ms: the pause after a failed request (controller.quorum.retry.backoff.ms).
        fetch_wait_ms: how long a leader may hold a Fetch that has nothing to tell.
        early_election_ms: the longest pause between a lost connection to the leader and the pre-vote; random
            below it, so that followers that lose it together do not ask together.
        start_election_ms: likewise after a start without a known leader.
        update_voter_ms: between attempts to bring the own entry in the voter set in line (KIP-853).
    """

    election_ms: int = 500
    fetch_ms: int = 1_500
    backoff_max_ms: int = 500
    request_ms: int = 2_000
    retry_ms: int = 20
    fetch_wait_ms: int = 500
    early_election_ms: int = 100
    start_election_ms: int = 250
    update_voter_ms: int = 200

    @property
    def check_quorum_ms(self) -> int:
        """How long a leader goes on without Fetches of a majority."""
        return self.fetch_ms * 3 // 2

    @property
    def begin_epoch_ms(self) -> int:
        """Between BeginQuorumEpoch requests to a voter that does not fetch."""
        return self.fetch_ms // 2


FETCH_BYTES_MAX = 8 * 1024 * 1024
"""Records in one answer: the largest batch there may be, so that one answer always makes progress."""

SNAPSHOT_PIECE_BYTES = 1024 * 1024
"""A piece of a snapshot in one FetchSnapshot answer: short enough that it does not hold up a heartbeat."""

OBSERVER_SESSION_MS = 300_000
"""An observer that has not fetched for this long is described no more (Kafka's observer session)."""

"""One line per message of the quorum, for transcripts; what has no news has no line."""

from __future__ import annotations

from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.batches import decode_batches
from moldau_broker.raft.protocol import read_answer, supported_range
from moldau_broker.raft.quorum import KRAFT_VERSION_FEATURE, VoterKey
from moldau_broker.wire.apis import ApiKey

_QUIET = (ApiKey.FETCH, ApiKey.FETCH_SNAPSHOT)
_MEMBERSHIP = (ApiKey.ADD_RAFT_VOTER, ApiKey.REMOVE_RAFT_VOTER, ApiKey.UPDATE_RAFT_VOTER)


def short_name(key: VoterKey) -> str:
    """A voter: node id and the letter of its disk."""
    return f"{key.node_id}{chr(key.directory_id[0])}"


def describe_request(sender: int, receiver: int, key: ApiKey, request: Any) -> str | None:
    """A line for a request; None for fetches, whose answers tell more."""
    head = f"{sender} -> {receiver} {_name(key)}"
    if key in _QUIET:
        return None
    if key is ApiKey.API_VERSIONS:
        return head
    if key in _MEMBERSHIP:
        return f"{head} voter {chr(request.voter_directory_id[0])}{request.voter_id}"
    asked = request.topics[0].partitions[0]
    match key:
        case ApiKey.VOTE:
            kind = "pre-vote" if asked.pre_vote else "vote"
            last = f"log ends at {asked.last_offset} in epoch {asked.last_offset_epoch}"
            return f"{head} {kind} in epoch {asked.replica_epoch}, {last}"
        case ApiKey.END_QUORUM_EPOCH:
            names = ",".join(str(one.candidate_id) for one in asked.preferred_candidates)
            return f"{head} epoch {asked.leader_epoch}, successors {names}"
        case _:
            return f"{head} epoch {asked.leader_epoch}"


def describe_answer(sender: int, receiver: int, key: ApiKey, response: Any) -> str | None:
    """A line for an answer; None for a fetch without news."""
    head = f"{sender} -> {receiver} {_name(key)}:"
    if key is ApiKey.API_VERSIONS:
        levels = supported_range(response, KRAFT_VERSION_FEATURE)
        return f"{head} kraft.version {f'{levels[0]} to {levels[1]}' if levels else 'unknown'}"
    if key in _MEMBERSHIP:
        return f"{head} {ErrorCode(response.error_code).name}"
    told = read_answer(key, response)
    if told.error is ErrorCode.NOT_LEADER_OR_FOLLOWER and told.leader.node_id < 0:
        return None  # somebody looks for a leader; so does the one who was asked
    if told.error is not ErrorCode.NONE:
        return f"{head} {told.error.name}, leader {told.leader.node_id} in epoch {told.leader.epoch}"
    part = told.partition
    match key:
        case ApiKey.VOTE:
            return f"{head} {'granted' if part.vote_granted else 'refused'} in epoch {told.leader.epoch}"
        case ApiKey.FETCH if part.diverging_epoch.epoch >= 0:
            return f"{head} epoch {part.diverging_epoch.epoch} ended at {part.diverging_epoch.end_offset}"
        case ApiKey.FETCH if part.snapshot_id.end_offset >= 0:
            return f"{head} snapshot {part.snapshot_id.end_offset} first"
        case ApiKey.FETCH if part.records:
            batches = list(decode_batches(part.records, "trace", control_only=True))
            return f"{head} records {batches[0].base_offset} to {batches[-1].next_offset - 1}"
        case ApiKey.FETCH:
            return None
        case ApiKey.FETCH_SNAPSHOT:
            return f"{head} {len(part.unaligned_records)} of {part.size} bytes from {part.position}"
        case _:
            return f"{head} agreed"


def _name(key: ApiKey) -> str:
    return "".join(word.capitalize() for word in key.name.split("_"))

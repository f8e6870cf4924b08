"""People as judges: blind pairs of answers to vote on, and their votes as verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.domain import blind
from app.domain.blind import Choice
from app.domain.directive import L0
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import Conflict, NotFound
from app.domain.judging import PEOPLE, Kind, conversation, outcome, without_judge
from app.services import deployment
from app.services.context import Context
from app.settings import Settings
from app.store import verdicts, votes
from app.store.verdicts import Verdict
from app.store.votes import Answered, Source, Voter

AT_ONCE = 20
"""Pairs that are read at a time, in search of one that differs."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a voter is shown: nothing in it tells which answer is L0's, or which level the other one has."""

    id: str
    """Names the pair to this voter alone."""
    prompt: str
    """The conversation that was answered, as text."""
    first: str
    second: str


def next_pair(context: Context, tenant: str, voter: str) -> Pair | None:
    """A pair on which `voter` has not voted; None if none is left. Changes nothing.

    Only answers of the present model under the present directives are asked about.

    Raises:
        InvalidInput: `voter` is no name.
    """
    name = blind.voter_name(voter)
    with context.database.transaction() as connection:
        among = _present(connection, context.settings, votes.sources(connection, tenant))
        asked = Voter(tenant=tenant, judge=PEOPLE, name=name)
        found = next(_pairs(connection, asked, among, context.settings.levels), None)
    if found is None:
        return None
    sample, level = found
    shown = sample.answers[level], sample.answers[L0]
    first, second = shown if blind.level_at(sample.seed, name, level) == 0 else shown[::-1]
    pair = blind.pair_id(sample.ticket, sample.seed, name, level)
    prompt = conversation(ENDPOINTS[sample.endpoint].messages(sample.body or {}))
    return Pair(id=pair, prompt=prompt, first=first, second=second)


def vote(context: Context, tenant: str, voter: str, pair: str, choice: Choice) -> None:
    """Record what `voter` says of a pair that was shown to them.

    Raises:
        InvalidInput: `voter` is no name.
        NotFound: no such pair was shown to this voter, or its answers are no longer kept.
        Conflict: this voter has voted on it, or its answers are not the present model's any more.
    """
    name, settings = blind.voter_name(voter), context.settings
    with context.database.transaction() as connection:
        ticket = blind.ticket_of(pair)
        sample = votes.get(connection, tenant, ticket) if ticket else None
        level = blind.level_of(pair, sample.seed, name, settings.levels) if sample else None
        if sample is None or level is None:
            raise NotFound(f"No such pair was shown to '{name}': ask for the next one.")
        if sample.body is None:
            raise NotFound("The answers of this pair are not kept any longer: ask for the next one.")
        if not _present(connection, settings, [sample.source]):
            raise Conflict("The model or its directives have changed since this pair was answered: ask for the next.")
        if not verdicts.add(connection, [_verdict(context, tenant, sample, name, level, choice)]):
            raise Conflict(f"'{name}' has voted on this pair already: ask for the next one.")


def _present(connection: Connection, settings: Settings, among: Sequence[Source]) -> Sequence[Source]:
    """Those whose answers are what the model would be judged by now."""
    of = {model: deployment.fingerprints(connection, settings, model) for model in {each.model for each in among}}
    return [each for each in among if each.fingerprint == of[each.model](each.workload)]


def _pairs(
    connection: Connection, voter: Voter, among: Sequence[Source], levels: int
) -> Iterator[tuple[Answered, int]]:
    """Pairs to ask this voter about, the one to ask first at the front."""
    offset = 0
    while among:
        found = votes.open_pairs(connection, voter, among, levels=levels, limit=AT_ONCE, offset=offset)
        for sample, level in found:
            if without_judge(sample.answers[level], sample.answers[L0]) is None:
                yield sample, level
        if len(found) < AT_ONCE:
            return
        offset += AT_ONCE


def _verdict(context: Context, tenant: str, sample: Answered, voter: str, level: int, choice: Choice) -> Verdict:
    at = blind.level_at(sample.seed, voter, level)
    said = blind.said(choice, level_at=at)
    return Verdict(
        tenant_id=tenant,
        model=sample.source.model,
        fingerprint=sample.source.fingerprint,
        workload=sample.source.workload,
        level=level,
        batch_id=sample.batch_id,
        line=sample.line,
        round_id=sample.round_id,
        kind=Kind.PREFERENCE,
        outcome=outcome([said]),
        judge=PEOPLE,
        judge_model=voter,
        prompt_version="",
        when_first=said if at == 0 else None,
        when_second=said if at == 1 else None,
        length=len(sample.answers[level]),
        l0_length=len(sample.answers[L0]),
        replies=None,
        created_at=context.clock.now(),
    )

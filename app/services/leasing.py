"""Taking a shard, or as much of it as this worker should: its requests, each with a level, in the order to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.domain.completion import Completion, EngineRequest
from app.domain.directive import L0, draw_level
from app.domain.endpoints import ENDPOINTS, Endpoint
from app.domain.order import Prompt, expected_tokens, longest_first
from app.domain.shard import fair_share, is_suspect
from app.services import deployment
from app.services.context import Context
from app.services.pace import Pace
from app.settings import Settings
from app.store import mixes, profiles, requests, shards, sharing, tenants, turns
from app.store.mixes import DirectiveMix
from app.store.requests import StoredRequest
from app.store.shards import Lease, Shard


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A request with its level."""

    request: StoredRequest
    level: int
    probability: float
    mix_id: str | None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What may be taken from earlier answers, and left to later requests; by the engine's keys."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Under which the answer of a deterministic request is kept."""
    answers: Mapping[str, Completion] = field(default_factory=dict)
    """Those that are there already."""


@dataclass(frozen=True, kw_only=True)
class LeasedShard:
    lease: Lease
    drawn: Mapping[str, Drawn]
    """By the key under which the engine knows the request; in the order in which they should run."""
    was_cut: bool
    """Whether a part of it was left to others, who do not know of it yet."""
    known: Known = field(default_factory=Known)


class Turn(NamedTuple):
    shard_id: str
    is_suspect: bool
    """Whether it has to run alone."""


def whose_turn(context: Context, shard_id: str) -> Turn:
    """The shard itself, or the one of another tenant that goes before it; then the bell rings for it another time."""
    with context.database.transaction() as connection:
        # Where there is nobody else, it is not asked: that looks through all that waits.
        first = _instead_of(context, connection, shard_id) if tenants.are_several(connection) else None
        if first is not None:
            shards.unsend(connection, [shard_id])
        chosen = first or shard_id
        return Turn(chosen, is_suspect(shards.losses(connection, chosen)))


def _instead_of(context: Context, connection: Connection, shard_id: str) -> str | None:
    place, model = context.settings.place, context.settings.served_name
    return turns.instead_of(connection, shard_id, place=place, model=model, now=context.clock.now())


def lease(context: Context, shard_id: str, *, owner: str, limit: int, pace: Pace) -> LeasedShard | None:
    """Take the shard and draw a level for each request that has no result yet; None if it is not to be had.

    At most `limit` requests are taken, and fewer when little is left for several workers, but no less than is worth a
    lease. The others stay in a shard of their own.
    """
    settings, now = context.settings, context.clock.now()
    own = {"place": settings.place, "model": settings.served_name}
    with context.database.transaction() as connection:
        terms = {**own, "owner": owner, "at_once": pace.slots, "now": now, "duration": settings.lease}
        found = _lease_first(connection, shard_id, terms)
        if found is None:
            return None
        pace.is_shared = tenants.are_several(connection)
        left = sharing.left(connection, **own, owner=owner, now=now)
        if left.others:
            share = fair_share(left.requests + found.shard.requests, left.others + 1)
            limit = min(limit, max(share, pace.smallest))
        waiting, was_cut = _cut(connection, found, limit)
        return _drawn(connection, settings, found, waiting, was_cut=was_cut)


def _lease_first(connection: Connection, shard_id: str, terms: Mapping[str, Any]) -> Lease | None:
    """Lease the shard, or in its place a more important one of its tenant; the shard is then to be rung for again."""
    where = {name: terms[name] for name in ("place", "model", "now")}
    first = turns.more_important(connection, shard_id, **where)
    found = shards.lease(connection, first, **terms) if first else None
    if found is None:
        return shards.lease(connection, shard_id, **terms)
    shards.unsend(connection, [shard_id])
    return found


def lease_copy(context: Context, *, owner: str, pace: Pace) -> LeasedShard | None:
    """The shard of another worker that is furthest from its end, from behind; None where that would not help.

    What runs already is not copied: it would end little sooner, and cost twice.
    """
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        found = sharing.copy_slowest(
            connection,
            place=settings.place,
            model=settings.served_name,
            owner=owner,
            at_once=pace.slots,
            now=now,
            duration=settings.lease,
        )
        return _drawn(connection, settings, found, _unanswered(connection, found.shard)) if found else None


def _drawn(
    connection: Connection,
    settings: Settings,
    found: Lease,
    waiting: Sequence[StoredRequest],
    *,
    was_cut: bool = False,
) -> LeasedShard:
    shard, model = found.shard, settings.served_name
    known = mixes.current(connection, shard.tenant_id, settings.zone, model)
    # Mixes from before the model or its directives were changed say nothing about those of now.
    fingerprint = deployment.fingerprints(connection, settings, model)
    current = {name: mix for name, mix in known.items() if mix.fingerprint == fingerprint(name)}
    drawn = {
        f"{found.id}/{request.line}": _draw(request, shard.batch_id, current, settings.levels) for request in waiting
    }
    lengths = expected_tokens(profiles.all_of(connection, shard.tenant_id, model))
    endpoint = ENDPOINTS[found.endpoint]
    order = longest_first({key: _prompt(one, endpoint) for key, one in drawn.items()}, lengths)
    if shard.copy_of is not None:
        # The other worker began in front: where the two meet, the shard has ended.
        order.reverse()
    return LeasedShard(lease=found, drawn={key: drawn[key] for key in order}, was_cut=was_cut)


def _prompt(drawn: Drawn, endpoint: Endpoint) -> Prompt:
    return Prompt(endpoint=endpoint, body=drawn.request.body, workload=drawn.request.workload, level=drawn.level)


def _cut(connection: Connection, found: Lease, limit: int) -> tuple[Sequence[StoredRequest], bool]:
    """The first `limit` requests without a result, and whether there are more, which become a shard of their own."""
    waiting = _unanswered(connection, found.shard, limit + 1)
    if len(waiting) <= limit:
        return waiting, False
    sharing.cut(connection, found.shard, at=waiting[limit].line)
    return waiting[:limit], True


def _unanswered(connection: Connection, shard: Shard, limit: int | None = None) -> Sequence[StoredRequest]:
    return requests.unanswered(connection, shard.batch_id, shard.first_line, shard.last_line, limit)


def _draw(request: StoredRequest, batch_id: str, current: Mapping[str, DirectiveMix], levels: int) -> Drawn:
    mix = current.get(request.workload)
    if request.pinned_level is not None or mix is None:
        # A level that the settings no longer have becomes the nearest one.
        level = min(request.pinned_level or L0, levels - 1)
        return Drawn(request=request, level=level, probability=1.0, mix_id=None)
    level = draw_level(mix.probabilities, request_key=f"{batch_id}/{request.custom_id}", mix_id=mix.id)
    return Drawn(request=request, level=level, probability=mix.probabilities[level], mix_id=mix.id)


def engine_request(settings: Settings, shard: LeasedShard, key: str) -> EngineRequest:
    """The request with the directive of its level in place."""
    drawn = shard.drawn[key]
    text = deployment.texts_of(settings, drawn.request.workload)[drawn.level]
    endpoint, body = ENDPOINTS[shard.lease.endpoint], drawn.request.body
    if text:
        body = endpoint.place(body, text, deployment.placement(settings))
    return EngineRequest(key=key, endpoint=endpoint.path, body=body)

"""Requests that a round of evaluation may ask about, and drawing a sample of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Select, Text, and_, cast, func, insert, literal, or_, select

from app.domain.batch import EVALUATION_KEY, OPT_OUT
from app.domain.directive import L0
from app.domain.request import REFERENCE_KEY
from app.store.quality import evaluation_samples
from app.store.tables import batches, requests, results


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Which requests may be asked about."""

    tenant: str
    model: str
    since: datetime
    """Served since then."""
    not_asked_since: datetime
    """A request that a round has taken since then is not taken again."""
    with_reference: bool = False
    """Only those whose right answer is known."""


def _eligible(among: Candidates) -> Select[Any]:
    taken = (
        select(evaluation_samples.c.line)
        .where(
            evaluation_samples.c.batch_id == results.c.batch_id,
            evaluation_samples.c.line == results.c.line,
            evaluation_samples.c.updated_at >= among.not_asked_since,
        )
        .exists()
    )
    conditions: list[ColumnElement[bool]] = [
        results.c.tenant_id == among.tenant,
        results.c.model == among.model,
        results.c.finished_at >= among.since,
        results.c.status_code == 200,
        # Requests that were pinned to a level are not those that a mix decides about.
        results.c.mix_id.is_not(None),
        # The same request again would look like more evidence.
        ~results.c.cached,
        func.coalesce(batches.c.metadata[EVALUATION_KEY].astext, "") != OPT_OUT,
        batches.c.prompts_gone_at.is_(None),
        ~taken,
    ]
    query = select(results.c.batch_id, results.c.line, results.c.workload, results.c.level, results.c.mix_id).join(
        batches, batches.c.id == results.c.batch_id
    )
    if among.with_reference:
        query = query.join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.line == results.c.line))
        conditions.append(requests.c.body["metadata"][REFERENCE_KEY].as_string().is_not(None))
    return query.where(*conditions)


def traffic(connection: Connection, among: Candidates) -> Mapping[str, int]:
    """Requests that may be asked about, per workload."""
    found = _eligible(among).subquery()
    query = select(found.c.workload, func.count()).group_by(found.c.workload)
    return dict(connection.execute(query).all())


def draw(connection: Connection, among: Candidates, *, round_id: str, wanted: Mapping[str, int], now: datetime) -> int:
    """Add a sample of each workload to a round; returns how many. The same round draws the same.

    Every mix of the workload has its share of the sample, by the requests that were served under it (proportional
    stratified sampling), and among these who drew L0 come first: all levels are compared with L0, whose answer takes
    the most to give. Under one mix the level is drawn whatever the request, so that the sample is one of the workload.
    """
    found = _eligible(among).where(results.c.workload.in_(list(wanted))).subquery()
    seed = int.from_bytes(blake2b(round_id.encode(), digest_size=8).digest(), signed=True)
    own = found.c.batch_id, found.c.line
    under = found.c.workload, found.c.mix_id
    order = found.c.level != L0, func.hashtextextended(func.concat(own[0], "/", own[1]), seed), *own
    number = func.row_number().over(partition_by=under, order_by=order)
    # From 0 to 1 through the requests under a mix, begun anywhere in the first one's step.
    begin = cast(func.hashtextextended(found.c.mix_id, seed), Float) / 2.0**64 + 0.5
    depth = (number - begin) / func.count().over(partition_by=under)
    deep = select(found, depth.label("depth")).subquery()
    place = func.row_number().over(partition_by=deep.c.workload, order_by=(deep.c.depth, deep.c.batch_id, deep.c.line))
    ranked = select(deep, place.label("place")).subquery()
    chosen = or_(*(and_(ranked.c.workload == name, ranked.c.place <= count) for name, count in wanted.items()))
    names = ["round_id", "batch_id", "line", "tenant_id", "workload", "level", "state", "body"]
    names += ["ticket", "seed", "updated_at"]
    source = (
        select(
            literal(round_id),
            ranked.c.batch_id,
            ranked.c.line,
            literal(among.tenant),
            ranked.c.workload,
            ranked.c.level,
            literal("waiting"),
            requests.c.body,
            _random(),
            _random(),
            literal(now),
        )
        .join(requests, and_(requests.c.batch_id == ranked.c.batch_id, requests.c.line == ranked.c.line))
        .where(chosen, requests.c.body.is_not(None))
    )
    return connection.execute(insert(evaluation_samples).from_select(names, source)).rowcount


def _random() -> ColumnElement[str]:
    """32 hexadecimal digits of PostgreSQL's strong random numbers, others in each row."""
    return func.replace(cast(func.gen_random_uuid(), Text), "-", "")

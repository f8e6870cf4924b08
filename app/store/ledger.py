"""Sums over the rows of the ledger, and settling them when the figure of their hour has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Table,
    Update,
    case,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)

from app.domain.attribution import Use
from app.domain.intensity import Origin
from app.domain.savings import WeightedSums
from app.domain.units import JOULES_PER_KWH
from app.domain.workload import STRATUM
from app.store import usage
from app.store.knowledge import intensity
from app.store.tables import batches, results, windows

floor_column = func.split_part(results.c.workload, literal_column(f"'{STRATUM}'"), literal_column("1"))
"""`app.domain.workload.floor_of`, in SQL. Without parameters, which would make two of it differ."""


@dataclass(frozen=True, kw_only=True)
class LevelTotal:
    """Sums over the requests of a batch at one level of one workload, on one basis, answered and failed ones apart.

    The strata of a workload count as the workload.
    """

    workload: str
    level: int
    answered: bool
    intensity_basis: str
    """Empty for requests that never ran."""
    requests: int
    prompt_tokens: int
    completion_tokens: int
    energy_j: float
    device_s: float
    operational_g: float
    first_operational_g: float | None
    """As priced at first; None where nothing was priced anew."""
    embodied_g: float
    drawn: int
    """How many of them drew the level and were answered at it; the others were pinned, or given an earlier answer."""
    cached: int
    """How many were given an earlier answer, and used nothing."""
    pinned_energy_j: float
    pinned_g: float


def totals(connection: Connection, batch_id: str) -> Sequence[LevelTotal]:
    """Per workload, level and basis."""
    answered = func.coalesce(results.c.status_code == 200, False)
    pinned = results.c.mix_id.is_(None)
    grams = results.c.operational_g + results.c.embodied_g
    first = func.coalesce(results.c.first_operational_g, results.c.operational_g)
    query = (
        select(
            floor_column.label("workload"),
            results.c.level,
            answered.label("answered"),
            results.c.intensity_basis,
            func.count().label("requests"),
            func.sum(results.c.prompt_tokens).label("prompt_tokens"),
            func.sum(results.c.completion_tokens).label("completion_tokens"),
            func.sum(results.c.energy_j).label("energy_j"),
            func.sum(results.c.device_s).label("device_s"),
            func.sum(results.c.operational_g).label("operational_g"),
            case((func.count(results.c.first_operational_g) > 0, func.sum(first))).label("first_operational_g"),
            func.sum(results.c.embodied_g).label("embodied_g"),
            func.count(results.c.mix_id).filter(~results.c.cached).label("drawn"),
            func.count().filter(results.c.cached).label("cached"),
            func.sum(case((pinned, results.c.energy_j), else_=0.0)).label("pinned_energy_j"),
            func.sum(case((pinned, grams), else_=0.0)).label("pinned_g"),
        )
        .where(results.c.batch_id == batch_id)
        .group_by(floor_column, results.c.level, answered, results.c.intensity_basis)
        .order_by(floor_column, results.c.level, answered.desc(), results.c.intensity_basis)
    )
    return [LevelTotal(**row) for row in connection.execute(query).mappings()]


def requests_by_mix(connection: Connection, batch_id: str) -> Mapping[str, int]:
    """How many results of a batch there are of each workload and of each stratum."""
    query = (
        select(results.c.workload, func.count())
        .where(results.c.batch_id == batch_id)
        .group_by(results.c.workload)
        .order_by(results.c.workload)
    )
    return dict(connection.execute(query).all())


def l0_sums(connection: Connection, batch_id: str, workload: str) -> tuple[WeightedSums, WeightedSums]:
    """Inverse-propensity sums of energy (J) and of footprint (g) over the requests that drew L0, strata included."""
    p = results.c.probability
    energy, grams = results.c.energy_j, results.c.operational_g + results.c.embodied_g
    sums: list[ColumnElement[Any]] = [func.count(), _sum(1 / p), _sum(1 / (p * p))]
    sums += [_sum(term) for y in (energy, grams) for term in (y / p, y / (p * p), y * y / (p * p))]
    query = select(*sums).where(
        results.c.batch_id == batch_id,
        floor_column == workload,
        results.c.status_code == 200,
        results.c.level == 0,
        results.c.mix_id.is_not(None),
        ~results.c.cached,
    )
    number, weight, weight_squared, *rest = connection.execute(query).one()
    both = [
        WeightedSums(
            requests=number,
            weight=weight,
            weighted=weighted,
            weight_squared=weight_squared,
            cross=cross,
            weighted_squared=squared,
        )
        for weighted, cross, squared in (rest[:3], rest[3:])
    ]
    return both[0], both[1]


def _sum(term: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(type_coerce(term, Float)), 0.0)


@dataclass(frozen=True, kw_only=True)
class OriginCount:
    """How many requests of a batch ran and were priced with figures on one basis that were had in one way."""

    basis: str
    origin: str
    requests: int


def origins(connection: Connection, batch_id: str) -> Sequence[OriginCount]:
    query = (
        select(
            results.c.intensity_basis.label("basis"),
            results.c.intensity_origin.label("origin"),
            func.count().label("requests"),
        )
        .where(results.c.batch_id == batch_id, results.c.intensity_basis != "")
        .group_by(results.c.intensity_basis, results.c.intensity_origin)
        .order_by(results.c.intensity_basis, results.c.intensity_origin)
    )
    return [OriginCount(**row) for row in connection.execute(query).mappings()]


def mean_intensity(connection: Connection, batch_id: str) -> float | None:
    """Of the energy that a batch used, gCO2eq/kWh; None where it used none."""
    joules = func.sum(results.c.energy_j)
    query = select(func.sum(results.c.energy_j * results.c.intensity_g_per_kwh) / func.nullif(joules, 0.0))
    found = connection.execute(query.where(results.c.batch_id == batch_id)).scalar()
    return None if found is None else float(found)


def energy_bases(connection: Connection, batch_id: str) -> Sequence[str]:
    """Those that occur among the requests of a batch that ran."""
    query = (
        select(results.c.energy_basis)
        .where(results.c.batch_id == batch_id, results.c.intensity_basis != "")
        .distinct()
        .order_by(results.c.energy_basis)
    )
    return list(connection.execute(query).scalars())


_origin = case(
    # A declared figure is not measured because it is stored hour by hour. The provider that gives it bears that name.
    (intensity.c.provider == Origin.STATIC, Origin.STATIC.value),
    (intensity.c.is_estimated, Origin.ESTIMATED.value),
    else_=Origin.MEASURED.value,
)


def settle(connection: Connection, zone: str, basis: str, since: datetime) -> int:
    """Price the rows of hours from `since` on with the stored figure of their hour, where it is another one.

    What they were priced with before any change is kept beside it. Returns how many results and windows changed.
    """
    joules_kwh = results.c.energy_j / JOULES_PER_KWH
    differs = results.c.intensity_g_per_kwh != intensity.c.intensity_g_per_kwh
    operational = {
        "operational_g": case(
            (differs, joules_kwh * results.c.pue * intensity.c.intensity_g_per_kwh), else_=results.c.operational_g
        ),
        "first_operational_g": case(
            (differs, func.coalesce(results.c.first_operational_g, results.c.operational_g)),
            else_=results.c.first_operational_g,
        ),
    }
    of = zone, basis, since
    # The row as it was. Differences of rows that are there, not sums made anew: what erased batches used stays counted,
    # and so does what others write meanwhile.
    was, hour = results.alias("was"), func.date_trunc("hour", results.c.finished_at, "UTC")
    same = was.c.batch_id == results.c.batch_id, was.c.line == results.c.line
    more = (results.c.operational_g - was.c.operational_g).label("more_g")
    settling = _settling(results, results.c.finished_at, operational, of).where(*same)
    changed = settling.returning(results.c.batch_id, results.c.tenant_id, hour.label("start_at"), more).cte("changed")
    # Of the batches that they belong to, the sums have to be made anew.
    stale = (
        update(batches).where(batches.c.id.in_(select(changed.c.batch_id))).values(ledger_is_stale=True).cte("stale")
    )
    both = select(func.count()).select_from(changed).add_cte(stale, usage.corrected(changed))
    rows = connection.execute(both).scalar_one()
    return rows + connection.execute(_settling(windows, windows.c.ended_at, {}, of)).rowcount


def _settling(
    table: Table,
    moment: ColumnElement[datetime],
    values: Mapping[str, Any],
    of: tuple[str, str, datetime],
) -> Update:
    zone, basis, since = of
    figure, first = table.c.intensity_g_per_kwh, table.c.first_intensity_g_per_kwh
    differs = figure != intensity.c.intensity_g_per_kwh
    return (
        update(table)
        .values(
            intensity_g_per_kwh=intensity.c.intensity_g_per_kwh,
            intensity_origin=_origin,
            first_intensity_g_per_kwh=case((differs, func.coalesce(first, figure)), else_=first),
            **values,
        )
        .where(
            table.c.zone == zone,
            table.c.intensity_basis == basis,
            moment >= since,
            intensity.c.zone == zone,
            intensity.c.basis == basis,
            intensity.c.start_at == func.date_trunc("hour", moment, "UTC"),
            or_(differs, table.c.intensity_origin != _origin),
        )
    )


def recent_use(connection: Connection, tenant: str, model: str, limit: int) -> Use | None:
    """Mean use of the newest `limit` answered requests, pinned ones too; None without any."""
    newest = (
        select(results.c.energy_j, results.c.device_s)
        .where(results.c.tenant_id == tenant, results.c.model == model, results.c.status_code == 200)
        .where(~results.c.cached)
        .order_by(results.c.finished_at.desc())
        .limit(limit)
        .subquery()
    )
    energy_j, device_s = connection.execute(select(func.avg(newest.c.energy_j), func.avg(newest.c.device_s))).one()
    return None if energy_j is None else Use(energy_j=energy_j, device_s=device_s)


@dataclass(frozen=True, kw_only=True)
class HourTotal:
    """Sums over the requests of a batch that ran in one zone and hour, on one basis."""

    zone: str
    start: datetime
    intensity_basis: str
    requests: int
    drawn_j: float
    """Energy x PUE: what the site drew."""
    operational_g: float
    embodied_g: float


def by_hour(connection: Connection, batch_id: str, since: datetime) -> Sequence[HourTotal]:
    """In which hours a batch ran from that moment on; ascending. Requests that never ran are left out."""
    hour = func.date_trunc(literal_column("'hour'"), results.c.finished_at, literal_column("'UTC'"))
    query = (
        select(
            results.c.zone,
            hour.label("start"),
            results.c.intensity_basis,
            func.count().label("requests"),
            func.sum(results.c.energy_j * results.c.pue).label("drawn_j"),
            func.sum(results.c.operational_g).label("operational_g"),
            func.sum(results.c.embodied_g).label("embodied_g"),
        )
        .where(results.c.batch_id == batch_id, results.c.intensity_basis != "", results.c.finished_at >= since)
        .group_by(results.c.zone, hour, results.c.intensity_basis)
        .order_by(hour, results.c.zone)
    )
    return [HourTotal(**row) for row in connection.execute(query).mappings()]

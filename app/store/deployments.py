"""Which weights stand behind each model's name, as the workers that loaded them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.directive import Placement
from app.store.quality import deployments


@dataclass(frozen=True, kw_only=True)
class Deployment:
    identity: str
    """Of the weights: another text for other ones."""
    placement: Placement


def put(connection: Connection, model: str, found: Deployment, now: datetime) -> bool:
    """Say what was loaded; whether that is something else than before."""
    # What other weights answer is not known before they are loaded.
    statement = insert(deployments).values(model=model, since=now, endpoints=None, **vars(found))
    changed = or_(
        deployments.c.identity != statement.excluded.identity,
        deployments.c.placement != statement.excluded.placement,
    )
    statement = statement.on_conflict_do_update(
        index_elements=["model"],
        set_={name: statement.excluded[name] for name in ("identity", "placement", "endpoints", "since")},
        where=changed,
    )
    return connection.execute(statement.returning(deployments.c.model)).first() is not None


def models(connection: Connection) -> Sequence[str]:
    """Every model that a worker has loaded."""
    return list(connection.execute(select(deployments.c.model)).scalars())


def get(connection: Connection, model: str) -> Deployment | None:
    query = select(deployments.c.identity, deployments.c.placement).where(deployments.c.model == model)
    row = connection.execute(query).first()
    return Deployment(identity=row.identity, placement=Placement(row.placement)) if row else None


def set_endpoints(connection: Connection, model: str, paths: Sequence[str]) -> None:
    """Say what the model answers that was loaded."""
    connection.execute(update(deployments).where(deployments.c.model == model).values(endpoints=list(paths)))


def endpoints(connection: Connection, model: str) -> Sequence[str] | None:
    """What it answers; None where that is not known."""
    return connection.execute(select(deployments.c.endpoints).where(deployments.c.model == model)).scalar()

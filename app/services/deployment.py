"""What evidence of quality is about: the weights behind a model's name, the directives, and where they stand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from sqlalchemy import Connection

from app.domain.directive import Placement, fingerprint
from app.domain.endpoints import UNANSWERED, unanswered
from app.domain.errors import InvalidInput
from app.domain.workload import floor_of
from app.ports import Task
from app.services.context import Context
from app.services.dispatch import ring
from app.settings import BUNDLED_MODEL, Settings
from app.store import deployments, events
from app.store.database import TENANT
from app.store.deployments import Deployment
from app.store.verdicts import Fingerprints

log = logging.getLogger(__name__)

CHANGED = "model_changed"


def placement(settings: Settings) -> Placement:
    """Where this model obeys a directive: measured for the bundled model, the system message otherwise."""
    if settings.placement is not None:
        return settings.placement
    return Placement.USER if settings.model == BUNDLED_MODEL else Placement.SYSTEM


def texts_of(settings: Settings, workload: str) -> tuple[str, ...]:
    """The directives of a workload, or of the one that a stratum belongs to, by level."""
    return settings.workload_directives.get(floor_of(workload), settings.directives)


def publish(context: Context, identity: str) -> None:
    """Say which weights this worker has loaded under its model's name; others than before start from L0, with fresh
    evidence."""
    settings, now = context.settings, context.clock.now()
    model = settings.served_name
    with context.database.transaction() as connection:
        before = deployments.get(connection, model)
        if not deployments.put(connection, model, Deployment(identity=identity, placement=placement(settings)), now):
            return
        if before is not None:
            message = f"Another model answers to the name {model}: it starts from L0, with fresh evidence."
            log.warning(message)
            events.add(connection, tenant=TENANT, kind=CHANGED, message=message, details={"model": model}, now=now)
    ring(context, Task.RECOMPUTE, "another model")


def publish_endpoints(context: Context, paths: Sequence[str]) -> None:
    """Say what this worker's engine answers."""
    with context.database.transaction() as connection:
        deployments.set_endpoints(connection, context.settings.served_name, paths)


def check_endpoint(connection: Connection, model: str, path: str) -> None:
    """Raises InvalidInput: the worker that loaded the model says that it does not answer this endpoint."""
    answered = deployments.endpoints(connection, model)
    if answered is not None and path not in answered:
        raise InvalidInput(unanswered(model, path, answered), param="endpoint", code=UNANSWERED)


def fingerprints(connection: Connection, settings: Settings, model: str) -> Fingerprints:
    """Of each workload's present evidence."""
    found = deployments.get(connection, model)
    identity, where = (found.identity, found.placement) if found else ("", placement(settings))

    @cache
    def of(workload: str) -> str:
        return fingerprint(identity, texts_of(settings, workload), where)

    return of

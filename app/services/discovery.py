"""Workloads that nobody declared: classes of prompts are learned from what was answered, and name new requests."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.discovery.embedding import AT_ONCE
from app.discovery.energy import as_at_l0
from app.discovery.model import FEWEST_PROMPTS, ClassModel, fit
from app.domain.endpoints import ENDPOINTS, Endpoint, Message
from app.domain.request import Request
from app.domain.workload import declared_in
from app.services import capacity
from app.services.context import Context
from app.settings import Settings
from app.store import class_models, requests, tenants
from app.store.requests import AnsweredRequest

log = logging.getLogger(__name__)

SAMPLE = 20_000
"""Newest answered requests that a model is learned from."""
GROWTH = 2
"""A sample this many times as large is learned from before its time: in the first days it grows fast."""
SYSTEM_CHARACTERS = 1_000
"""Of the system messages: what is asked for often stands there, and must not keep the user's text from being read."""
HEAD, TAIL = 7_000, 1_000
"""Characters kept of a prompt's start and end: much more than is read of them, and a sample of them fits in memory."""
PART_BYTES = 1 << 20
"""Of requests that are named together."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Prompts, the workloads that their users declared, and their energy at L0 in joules, NaN where it is not known."""

    prompts: Sequence[str]
    declared: Sequence[str | None]
    energies_j: Sequence[float]


def discover(context: Context) -> None:
    """Learn every tenant's classes anew with each model, if it is time; what fails leaves the old ones."""
    if not context.settings.discovery:
        return
    with context.database.transaction() as connection:
        models = capacity.models(connection, context.settings, context.clock.now())
        everybody = tenants.names(connection)
    for tenant in everybody:
        for name in models:
            _discover(context, tenant, name)


def _discover(context: Context, tenant: str, name: str) -> None:
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        if not _due(connection, settings, tenant, name, now):
            return
        previous = class_models.newest(connection, tenant, name)
        sample = _sample(connection, tenant, name)
    if len(sample.prompts) < FEWEST_PROMPTS:
        log.info("classes of prompts: %d answers of %s, %d are needed", len(sample.prompts), name, FEWEST_PROMPTS)
        return
    try:
        model = fit(sample.prompts, sample.declared, sample.energies_j, previous=previous).model
    except Exception:
        # Nothing in a prompt may stop the service: requests go on under the names that they have had.
        log.exception("classes of prompts could not be learned: the old ones stay")
        return
    with context.database.transaction() as connection:
        class_models.put(connection, tenant, name, model, now)
    log.info("classes of prompts: version %d, %d discovered workloads", model.version, len(set(model.numbers)))


def _due(connection: Connection, settings: Settings, tenant: str, name: str, now: datetime) -> bool:
    last = class_models.newest_learning(connection, tenant, name)
    if last is None:
        return True
    learned_at, prompts = last
    if now - learned_at >= timedelta(seconds=settings.discover_s):
        return True
    enough = GROWTH * prompts
    return enough <= SAMPLE and requests.count_answered(connection, tenant, name, enough) == enough


def _sample(connection: Connection, tenant: str, model: str) -> Sample:
    prompts: list[str] = []
    rows: list[AnsweredRequest] = []
    with closing(requests.recently_answered(connection, tenant, model, SAMPLE)) as found:
        for row in found:
            prompts.append(prompt_of(ENDPOINTS[row.endpoint].messages(row.body)))
            rows.append(replace(row, body={}))
    # Whoever pins a level answers for its length; such requests say nothing of those that draw one.
    energies = [row.energy_j if row.drawn else math.nan for row in rows]
    names, levels = [row.workload for row in rows], [row.level for row in rows]
    return Sample(
        prompts=prompts,
        declared=[declared_in(name) for name in names],
        energies_j=list(as_at_l0(names, levels, energies)),
    )


def newest(context: Context, connection: Connection, tenant: str, name: str) -> ClassModel | None:
    """The model by which new requests to the model `name` are named; None if there is none yet, or if it is switched
    off."""
    if not context.settings.discovery:
        return None
    return class_models.newest(connection, tenant, name)


def named(entries: Iterable[Request], model: ClassModel | None, endpoint: Endpoint) -> Iterator[Request]:
    """The same requests under the names of their mixes: declared or discovered workload, and stratum.

    What no directive can shorten has no classes.
    """
    if model is None or not endpoint.generates:
        yield from entries
        return
    for some in _parts(entries):
        prompts = [prompt_of(endpoint.messages(entry.body)) for entry in some]
        names = model.assign(prompts, [declared_in(entry.workload) for entry in some])
        for entry, name in zip(some, names, strict=True):
            yield replace(entry, workload=name)


def _parts(entries: Iterable[Request]) -> Iterator[Sequence[Request]]:
    """Up to AT_ONCE requests at a time, fewer where they are large: a line may have a megabyte."""
    part: list[Request] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += len(entry.body_json or b"")
        if len(part) == AT_ONCE or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def prompt_of(messages: Sequence[Message]) -> str:
    """What classes are told apart by: the start of the system messages, then all that the user says.

    The middle of very long texts is left out. Parts that are no text are passed over.
    """
    messages = [message for message in messages if isinstance(message, Mapping)]
    system = "\n".join(_texts(messages, "system", "developer"))[:SYSTEM_CHARACTERS]
    user = "\n".join(_texts(messages, "user"))
    text = f"{system}\n{user}" if system else user
    return text if len(text) <= HEAD + TAIL else text[:HEAD] + text[-TAIL:]


def _texts(messages: Sequence[Message], *roles: str) -> Iterator[str]:
    for message in messages:
        if message.get("role") in roles:
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
            yield from (text for text in texts if isinstance(text, str))

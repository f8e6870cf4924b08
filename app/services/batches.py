"""Creating, reading and cancelling batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.domain.batch import (
    EVALUATION_KEY,
    RUN_KEY,
    SCHEDULE_KEY,
    ZONES_KEY,
    BatchStatus,
    Schedule,
    check_evaluation,
    parse_completion_window,
    parse_schedule,
    parse_zones,
)
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import Conflict, InvalidInput
from app.domain.request import LEVEL_KEY, WORKLOAD_KEY, RequestDefaults, batch_controls
from app.ports import Task
from app.services import limits
from app.services.context import Context
from app.services.dispatch import ring
from app.settings import Settings
from app.store import batches, files, shards
from app.store.batches import Batch, Counts
from app.store.files import File
from app.store.ids import new_id

OWN_PREFIX = "sprout_"
OWN_KEYS = frozenset({SCHEDULE_KEY, ZONES_KEY, LEVEL_KEY, WORKLOAD_KEY, EVALUATION_KEY, RUN_KEY})
"""Another key that begins so is a slip: it would be ignored, and its batch run otherwise than was meant."""

MAX_METADATA, MAX_KEY, MAX_VALUE = 16, 64, 512
"""OpenAI's limits on metadata: pairs, and characters of a key and of a value."""


def knows_models(settings: Settings) -> bool:
    """Whether lines say on which model they run. A remote engine without a stated one takes all, and decides itself."""
    return settings.engine != "openai" or bool(settings.model_name)


def model_of(settings: Settings, named: str | None) -> str:
    """The model of a batch whose lines name `named`."""
    return named if named is not None and knows_models(settings) else settings.home_model


def request_defaults(context: Context, endpoint: str, metadata: Mapping[str, str] | None) -> RequestDefaults:
    """What a batch's lines take from the batch and from the settings, their model left open. Raises InvalidInput."""
    settings = context.settings
    defaults = RequestDefaults(
        endpoint=endpoint,
        model=None,
        levels=settings.levels,
        max_line_bytes=settings.max_line_bytes,
        workload=ENDPOINTS[endpoint].workload,
    )
    return batch_controls(metadata or {}, defaults)


def create(
    context: Context,
    tenant: str,
    *,
    input_file_id: str,
    endpoint: str,
    completion_window: str,
    metadata: Mapping[str, str] | None,
    output_expires_after_s: int | None = None,
) -> Batch:
    """Accept a batch for validation. Its output and error files are kept for that many seconds, or for ever.

    Raises:
        InvalidInput: an unknown endpoint, window, purpose, schedule or zone, or unusable metadata.
        LimitExceeded: the tenant has used up one of its limits.
        NotFound: no such input file.
    """
    window, stated = parse_completion_window(completion_window), metadata or {}
    _check(context, endpoint, stated)
    now = context.clock.now()
    batch = Batch(
        id=new_id("batch_"),
        tenant_id=tenant,
        endpoint=endpoint,
        input_file_id=input_file_id,
        completion_window=completion_window,
        status=BatchStatus.VALIDATING,
        metadata=metadata,
        created_at=now,
        expires_at=now + window,
        sent_at=now,
        schedule=parse_schedule(stated.get(SCHEDULE_KEY, Schedule.ASAP)),
        zones=parse_zones(stated.get(ZONES_KEY), context.settings.all_zones),
        output_expires_after_s=output_expires_after_s,
    )
    _store(context, batch)
    ring(context, Task.VALIDATE, batch.id)
    return batch


def _store(context: Context, batch: Batch) -> None:
    with context.database.transaction() as connection:
        _check_purpose(files.get(connection, batch.tenant_id, batch.input_file_id, batch.created_at, keep=True))
        limits.check(connection, batch.tenant_id, batch.created_at)
        batches.add(connection, batch)


def _check(context: Context, endpoint: str, metadata: Mapping[str, str]) -> None:
    if endpoint not in ENDPOINTS:
        known = ", ".join(f"'{name}'" for name in ENDPOINTS)
        raise InvalidInput(f"Invalid value: '{endpoint}'. Supported values are: {known}.", param="endpoint")
    _check_metadata(metadata)
    request_defaults(context, endpoint, metadata)


def _check_purpose(file: File) -> None:
    if file.purpose != "batch":
        raise InvalidInput(
            f"File '{file.id}' has purpose '{file.purpose}': upload the input with purpose 'batch'.",
            param="input_file_id",
        )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_METADATA:
        raise InvalidInput(
            f"Invalid 'metadata': it may have at most {MAX_METADATA} pairs, and this has {len(metadata)}.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        _check_pair(key, value)
    check_evaluation(metadata.get(EVALUATION_KEY, "on"))
    unknown = [key for key in metadata if key.startswith(OWN_PREFIX) and key not in OWN_KEYS]
    if unknown:
        raise InvalidInput(
            f"There is no {unknown[0]!r}: of the keys that begin with '{OWN_PREFIX}', a batch knows "
            f"{', '.join(sorted(OWN_KEYS))}.",
            param="metadata",
        )


def _check_pair(key: str, value: str) -> None:
    name = f"'metadata.{key[:MAX_KEY]}'"
    if len(key) > MAX_KEY:
        fault = f"Invalid key {name}...: it may have at most {MAX_KEY} characters, and this has {len(key)}."
    elif len(value) > MAX_VALUE:
        fault = f"Invalid {name}: the value may have at most {MAX_VALUE} characters, and this has {len(value)}."
    elif "\0" in key + value:
        fault = f"Invalid {name}: neither key nor value may hold the character NUL."
    else:
        return
    is_long = len(key) > MAX_KEY or len(value) > MAX_VALUE
    code = "string_above_max_length" if is_long else None
    raise InvalidInput(fault, param=f"metadata.{key[:MAX_KEY]}", code=code)


def get(context: Context, tenant: str, batch_id: str) -> tuple[Batch, Counts]:
    """Raises NotFound."""
    with context.database.transaction() as connection:
        batch = batches.get(connection, tenant, batch_id)
        return batch, batches.counts(connection, [batch_id])[batch_id]


def newest(
    context: Context, tenant: str, *, after: str | None, limit: int
) -> tuple[Sequence[tuple[Batch, Counts]], bool]:
    """A page of batches, newest first, and whether more follow. Raises NotFound if `after` is not there."""
    with context.database.transaction() as connection:
        found = batches.newest(connection, tenant, after=after, limit=limit + 1)
        page = found[:limit]
        counts = batches.counts(connection, [batch.id for batch in page])
    return [(batch, counts[batch.id]) for batch in page], len(found) > limit


def cancel(context: Context, tenant: str, batch_id: str) -> tuple[Batch, Counts]:
    """Stop a batch; what is answered is kept.

    Raises:
        NotFound: no such batch.
        Conflict: it has already ended.
    """
    now = context.clock.now()
    with context.database.transaction() as connection:
        batches.get(connection, tenant, batch_id)
        moved = batches.move(connection, batch_id, BatchStatus.CANCELLING, now)
        # Read again: it may have waited for somebody else's move.
        status = batches.get(connection, tenant, batch_id).status
        if moved:
            shards.close_all(connection, batch_id)
        elif status not in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            raise Conflict(f"Batch '{batch_id}' is {status} and can no longer be cancelled.")
    if moved:
        ring(context, Task.FINALIZE, batch_id)
    return get(context, tenant, batch_id)

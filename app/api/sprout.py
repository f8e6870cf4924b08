"""What Sprout says beyond OpenAI's API: directives, live results, and what a batch used."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.access import Caller, Services
from app.api.shapes import Text
from app.services import batches, directives, finalization, reporting

router = APIRouter(prefix="/sprout/v1")

YEAR_9999 = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@router.get("/directives")
def current_directives(context: Services, tenant: Caller) -> Any:
    """The directive mix of every workload, and the run that gave it."""
    run, mixes = directives.current(context, tenant)
    return {"run": asdict(run) if run else None, "mixes": [asdict(mix) for mix in mixes]}


@router.get("/batches/{batch_id}/report")
def batch_report(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """Requests, tokens, energy and footprint per level, and the estimate of L0's cost."""
    found = asdict(reporting.report(context, tenant, batch_id))
    found.pop("batch")
    return found


@router.get("/batches/{batch_id}/results")
def live_results(
    context: Services,
    tenant: Caller,
    batch_id: Text,
    since: Annotated[float, Query(ge=0, lt=YEAR_9999)] = 0.0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Any:
    """Results recorded at or after `since` (Unix seconds) while the batch runs, oldest first.

    A preview: results recorded at about the same time may appear out of order, so ask again with some overlap. The
    output file of the ended batch is complete.
    """
    batches.get(context, tenant, batch_id)
    found = reporting.finished_since(context, batch_id, datetime.fromtimestamp(since, UTC), limit)
    return {
        "data": [
            {**finalization.output_line(result), "finished_at": result.finished_at.timestamp()} for result in found
        ]
    }

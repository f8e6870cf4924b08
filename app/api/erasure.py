"""Erasing: what OpenAI's API has no word for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.access import Caller, Services
from app.api.shapes import Text
from app.services import erasure

router = APIRouter(prefix="/sprout/v1")


@router.delete("/batches/{batch_id}")
def erase_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """Erase a batch: its prompts, answers, files, samples and verdicts, and its rows of the ledger.

    One that runs is stopped at once. `complete` says whether everything is gone by now; of a large batch the rest goes
    within minutes, and nobody sees it meanwhile. `kept_input` says why its input file stays: another batch has it too.
    """
    found = erasure.erase_batch(context, tenant, batch_id)
    return {
        "id": found.batch_id,
        "object": "batch",
        "deleted": True,
        "complete": found.complete,
        "kept_input": found.kept_input,
    }

"""OpenAI's list of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.access import Caller, Services
from app.services import capacity

router = APIRouter(prefix="/v1")


@router.get("/models")
def list_models(context: Services, tenant: Caller) -> Any:
    """The installation's own model first, then the others that workers serve now."""
    known = {"object": "model", "created": 0, "owned_by": "sprout"}
    return {"object": "list", "data": [{"id": name, **known} for name in capacity.offered(context)]}

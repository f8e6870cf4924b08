"""OpenAI's list of models, and one of them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.access import Caller, Services
from app.api.shapes import Text
from app.domain.errors import NotFound
from app.services import capacity

router = APIRouter(prefix="/v1")


@router.get("/models")
def list_models(context: Services, tenant: Caller) -> Any:
    """The installation's own model first, then the others that workers serve now."""
    return {"object": "list", "data": [_shape(name) for name in capacity.offered(context)]}


@router.get("/models/{name:path}")
def retrieve_model(context: Services, tenant: Caller, name: Text) -> Any:
    """A model of the list; the names of many have a slash."""
    if name not in capacity.offered(context):
        raise NotFound(f"The model '{name[:80]}' does not exist.", param="model", code="model_not_found")
    return _shape(name)


def _shape(name: str) -> dict[str, Any]:
    """When a model was made is not known here."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "sprout"}

"""What all processes of an installation have to agree on: said by its scheduler worker, heard by workers that join.

No secret and nothing about one machine is among it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.services.context import Context
from app.settings import Settings
from app.store import installation

SHARED = (
    "default_model",
    "request_timeout_s",
    "directives",
    "workload_directives",
    "xi",
    "floor_mode",
    "confidence",
    "quality_worth",
    "verdict_half_life_s",
    "kept_at_l0",
    "evaluation_budget",
    "judge",
    "judge_url",
    "judge_model",
    "judge_tenants",
    "judge_per_minute",
    "judge_max_requests",
    "judge_max_tokens",
    "judge_max_cost",
    "judge_price_in",
    "judge_price_out",
    "sample_retention_s",
    "profile_half_life_s",
    "prior",
    "period_s",
    "discovery",
    "discover_s",
    "zones",
    "transfer_kwh_per_gb",
    "static_intensity",
    "intensity_basis",
    "clock_speed",
    "clock_start",
    "shard_size",
    "lease_s",
    "tick_s",
    "resend_s",
    "max_file_bytes",
    "max_requests",
    "max_line_bytes",
)
"""Settings of the service."""

OF_MODEL = ("model", "model_name", "placement", "max_context")
"""Settings of the installation's own model: for a worker that names none."""


def publish(context: Context) -> None:
    """Say by which settings this installation runs."""
    with context.database.transaction() as connection:
        installation.put(connection, shared(context.settings), context.clock.now())


def shared(settings: Settings) -> Mapping[str, Any]:
    """As JSON, by name; what is unset is left out."""
    resolved = settings.model_copy(
        update={
            "default_model": settings.home_model,
            "zones": settings.all_zones,
            # The provider stays where its secrets are.
            "intensity_basis": settings.basis,
        }
    )
    # A remote engine serves what it does; the bundled model's name says nothing then.
    names = {*SHARED, *OF_MODEL} - (set() if settings.engine == "vllm" or settings.model_stated else {"model"})
    return resolved.model_dump(mode="json", include=names, exclude_none=True)


def variables(found: Mapping[str, Any], environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that `environment` of a worker lacks, from what its installation published."""
    names_model = bool(environment.get("SPROUT_MODEL") or environment.get("SPROUT_MODEL_NAME"))
    # Weights cannot be had from a name that only a remote engine knows.
    own = () if names_model or ("model" not in found and environment.get("SPROUT_ENGINE") != "openai") else OF_MODEL
    names = [name for name in (*SHARED, *own) if name in found and not environment.get(variable(name))]
    return {variable(name): as_text(found[name]) for name in names}


def variable(name: str) -> str:
    return f"SPROUT_{name.upper()}"


def as_text(value: Any) -> str:
    """A setting as its variable holds it."""
    return value if isinstance(value, str) else json.dumps(value)

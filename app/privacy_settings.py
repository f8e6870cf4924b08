"""The part of the settings that is about how long texts are kept, and what is said in logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from app.domain.retention import Kept

MONTH_S = 2_592_000.0


class PrivacySettings(BaseSettings):
    """See `app.settings`. Times count from the end of what a text belongs to; unset: until it is erased."""

    keep_prompts_s: float | None = Field(
        None, gt=0, description="how long the prompts of an ended batch are kept; unset: until it is erased"
    )
    keep_answers_s: float | None = Field(
        None, gt=0, description="how long its answers are kept; unset: until it is erased"
    )
    keep_samples_s: float | None = Field(
        MONTH_S, gt=0, description="how long prompts and answers that were sampled for evaluation are kept"
    )
    keep_verdicts_s: float | None = Field(MONTH_S, gt=0, description="how long judges' raw replies are kept")
    keep_cache_s: float | None = Field(
        604_800.0, gt=0, description="how long an answer may be given again to the same request (`sprout_cache`)"
    )
    keep_files_s: float | None = Field(
        None, gt=0, description="how long files that no open batch needs are kept; unset: until they are deleted"
    )
    log_format: Literal["text", "json"] = Field("text", description="`text`, or `json`: one object a line")

    @property
    def kept_s(self) -> Mapping[Kept, float | None]:
        """Seconds, where a tenant has no time of its own; None for ever."""
        return {kind: getattr(self, f"keep_{kind}_s") for kind in Kept}

"""The part of the settings that is about measuring what levels are worth and what they save."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings


class EvaluationSettings(BaseSettings):
    """See `app.settings`."""

    verdict_half_life_s: float = Field(2_592_000.0, gt=0, description="age at which a verdict counts half")
    kept_at_l0: float = Field(0.01, ge=0, le=1, description="share of requests kept at L0 to measure savings")
    prior: Literal["none", "paper"] = Field(
        "none", description="`none` or `paper`: beliefs that stand in until there are verdicts"
    )
    evaluation_budget: float = Field(
        0.01, ge=0, le=1, description="share of the served footprint that rounds of evaluation may emit"
    )
    judge: Literal["none", "engine", "openai", "human"] = Field(
        "none",
        description="who compares answers: nobody, this worker's engine, an OpenAI-compatible server, or people",
    )
    judge_url: str | None = Field(None, description="base URL of the judging server, such as https://host/v1")
    judge_key: SecretStr | None = Field(None, description="bearer key of the judging server")
    judge_model: str | None = Field(None, description="model that the judging server is asked for")
    judge_tenants: tuple[str, ...] = Field(
        (), description='tenants who agree that their prompts are sent to SPROUT_JUDGE_URL, such as ["default"]'
    )
    judge_per_minute: int = Field(60, gt=0, description="requests a minute that the judging server is asked at most")
    judge_max_requests: int = Field(5000, gt=0, description="most requests to a judge in a round")
    judge_max_tokens: int = Field(5_000_000, gt=0, description="most tokens of a judge in a round")
    judge_max_cost: float | None = Field(None, ge=0, description="most that a judge may cost in a round")
    judge_price_in: float = Field(0.0, ge=0, description="price of a million tokens that a judge reads")
    judge_price_out: float = Field(0.0, ge=0, description="price of a million tokens that a judge writes")

    @model_validator(mode="after")
    def _judge_agrees(self) -> EvaluationSettings:
        if self.judge == "openai" and not (self.judge_url and self.judge_model):
            raise ValueError("SPROUT_JUDGE=openai needs SPROUT_JUDGE_URL and SPROUT_JUDGE_MODEL")
        if self.judge_url and not self.judge_url.startswith(("http://", "https://")):
            raise ValueError("SPROUT_JUDGE_URL is an address that starts with http:// or https://")
        return self

"""The part of the settings that is about telling webhooks of events."""

from __future__ import annotations

import httpx
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.domain.errors import InvalidInput
from app.domain.webhook import check_secret


def address(text: str) -> httpx.URL | None:
    """What can be called; None for anything else."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None
    # What a host may not have, httpx has turned into escapes.
    whole = url.scheme in ("http", "https") and url.host and "%" not in url.raw_host.decode("ascii")
    return url if whole and (url.port is None or 0 < url.port < 1 << 16) else None


class WebhookSettings(BaseSettings):
    """See `app.settings`."""

    webhook_url: SecretStr | None = Field(
        None, description="the operator's URL, told of events of the installation, such as a drop in quality"
    )
    webhook_secret: SecretStr | None = Field(
        None, description="`whsec_` and a key in base64, which signs what SPROUT_WEBHOOK_URL is told"
    )
    webhook_private: bool = Field(
        False,
        description="let tenants' webhooks be at private addresses and without TLS, if you trust them",
    )

    @model_validator(mode="after")
    def _webhook_agrees(self) -> WebhookSettings:
        if self.webhook_url is None:
            return self
        if address(self.webhook_url.get_secret_value()) is None:
            raise ValueError("SPROUT_WEBHOOK_URL is an address that starts with http:// or https://")
        try:
            check_secret(self.webhook_secret.get_secret_value() if self.webhook_secret else "")
        except InvalidInput as exc:
            raise ValueError(f"SPROUT_WEBHOOK_URL needs SPROUT_WEBHOOK_SECRET. {exc.message}") from exc
        return self

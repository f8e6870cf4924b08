"""The part of the settings that is about telling webhooks of events."""

from __future__ import annotations

import httpx
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.domain.errors import InvalidInput
from app.domain.webhook import check_secret


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
        try:
            address = httpx.URL(self.webhook_url.get_secret_value())
        except (httpx.InvalidURL, ValueError):
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError("SPROUT_WEBHOOK_URL is an address that starts with http:// or https://")
        try:
            check_secret(self.webhook_secret.get_secret_value() if self.webhook_secret else "")
        except InvalidInput as exc:
            raise ValueError(f"SPROUT_WEBHOOK_URL needs SPROUT_WEBHOOK_SECRET. {exc.message}") from exc
        return self

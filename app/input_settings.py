"""The part of the settings that says how large input may be."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class InputSettings(BaseSettings):
    """See `app.settings`. The first two are OpenAI's limits."""

    max_file_bytes: int = Field(200_000_000, gt=0, description="largest upload")
    max_requests: int = Field(50_000, gt=0, description="most requests in a batch")
    max_line_bytes: int = Field(1_000_000, gt=0, description="longest line of an input file")

"""The part of the settings that is about files: how large they may be, and where they are kept."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class FileSettings(BaseSettings):
    """See `app.settings`. Bytes and requests are OpenAI's limits."""

    files_url: str | None = Field(
        None, description="object storage for files, such as s3://bucket/prefix; unset: the folder files in SPROUT_HOME"
    )
    max_file_bytes: int = Field(200_000_000, gt=0, description="largest upload")
    max_requests: int = Field(50_000, gt=0, description="most requests in a batch")
    max_line_bytes: int = Field(1_000_000, gt=0, description="longest line of an input file")

    @field_validator("files_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not all(value.partition("://")):
            raise ValueError("SPROUT_FILES_URL is an address such as s3://bucket/prefix")
        return value

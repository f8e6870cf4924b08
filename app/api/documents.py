"""What the OpenAPI document says of OpenAI's objects. Answers are not checked against it here; the tests do that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.batch import BatchStatus


class _Object(BaseModel):
    # Every field is always there, null where nothing is to be said.
    model_config = ConfigDict(extra="allow")


class ErrorObject(_Object):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(_Object):
    """Every refusal."""

    error: ErrorObject


class FileObject(_Object):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: None


class FileDeleted(_Object):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchErrors(_Object):
    object: Literal["list"]
    data: list[dict[str, Any]] = Field(description="`code`, `message`, `param` and `line`, the last two may be null")


class RequestCounts(_Object):
    total: int
    completed: int
    failed: int


class BatchObject(_Object):
    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None = Field(description="what processed it, once it has ended")
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: dict[str, Any] | None
    metadata: dict[str, str] | None
    sprout: dict[str, Any] = Field(description="what OpenAI's batches do not have")


class _Page(_Object):
    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(_Page):
    data: list[FileObject]


class BatchList(_Page):
    data: list[BatchObject]


Responses = dict[int | str, dict[str, Any]]

REFUSALS: Responses = {
    "4XX": {"model": ErrorBody, "description": "A refusal"},
    "5XX": {"model": ErrorBody, "description": "A failure"},
}

CONTENT: Responses = {
    200: {"content": {"application/octet-stream": {}}, "description": "All of it"},
    206: {"content": {"application/octet-stream": {}}, "description": "The range of the header Range"},
    304: {"description": "What the header If-None-Match names"},
}

UPLOAD: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JSON lines, one request each"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                }
            }
        },
    }
}


def answers(model: type[BaseModel]) -> Responses:
    """The answer to a call that succeeds."""
    return {200: {"model": model}}

"""The endpoints of OpenAI's API that a batch may name, each with what Sprout has to know of its requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from app.domain.endpoints.base import Endpoint, Message, Prompt
from app.domain.endpoints.chat import Chat
from app.domain.endpoints.completions import Completions
from app.domain.endpoints.embeddings import Embeddings
from app.domain.endpoints.responses import Responses

__all__ = ["CHAT", "ENDPOINTS", "GENERATING", "UNANSWERED", "Endpoint", "Message", "Prompt", "unanswered"]

CHAT = Chat()
ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.path: endpoint for endpoint in (CHAT, Completions(), Responses(), Embeddings())
}
"""By path."""
GENERATING = tuple(path for path, endpoint in ENDPOINTS.items() if endpoint.generates)
"""Paths of those whose answers are texts."""
UNANSWERED = "unsupported_endpoint"
"""The code of that error."""


def unanswered(model: str, path: str, answered: Collection[str]) -> str:
    """What whoever asks a model for what it cannot do is told."""
    return (
        f"The model {model} does not answer {path}: it answers {', '.join(answered) or 'none of the endpoints'}. Name "
        "another model or endpoint."
    )

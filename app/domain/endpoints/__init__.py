"""The endpoints of OpenAI's API that a batch may name, each with what Sprout has to know of its requests."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.endpoints.base import Endpoint, Message, Prompt
from app.domain.endpoints.chat import Chat
from app.domain.endpoints.completions import Completions
from app.domain.endpoints.embeddings import Embeddings
from app.domain.endpoints.responses import Responses

__all__ = ["CHAT", "ENDPOINTS", "GENERATING", "Endpoint", "Message", "Prompt"]

CHAT = Chat()
ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.path: endpoint for endpoint in (CHAT, Completions(), Responses(), Embeddings())
}
"""By path."""
GENERATING = tuple(path for path, endpoint in ENDPOINTS.items() if endpoint.generates)
"""Paths of those whose answers are texts."""

"""One OpenAI request answered by vLLM's own serving layer, in process and without HTTP, as `vllm run-batch` does."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import State
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.handlers.validation import validation_exception_handler
from vllm.v1.engine.exceptions import EngineDeadError

from app.domain.completion import error_body

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body."""


class ServingLayer:
    """The endpoints of `vllm serve` that a batch may name."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._endpoints: dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[BaseModel]]]] = {
            "/v1/chat/completions": (ChatCompletionRequest, state.openai_serving_chat.create_chat_completion),
            "/v1/completions": (CompletionRequest, state.openai_serving_completion.create_completion),
        }

    @classmethod
    async def over(cls, client: EngineClient, args: Namespace) -> ServingLayer:
        """The serving layer of `client`, set up by the options of `vllm serve`."""
        state = State()
        await init_app_state(client, state, args, await client.get_supported_tasks())
        return cls(state)

    async def answer(self, endpoint: str, body: Mapping[str, Any], *, request_id: str) -> Answer:
        """What `vllm serve` would answer to a POST of `body`. The engine knows the request by an id that contains
        `request_id`, and so does the answer.

        Raises:
            EngineDeadError: the engine core is gone.
        """
        if endpoint not in self._endpoints:
            message = f"The engine does not answer {endpoint}: use one of {', '.join(self._endpoints)}."
            return 404, error_body(message, param="url", code="unknown_url")
        kind, create = self._endpoints[endpoint]
        try:
            # vLLM's own validators raise past pydantic, hence inside.
            response = await create(kind.model_validate({**body, "request_id": request_id}))
        except EngineDeadError:
            raise
        except ValidationError as exc:
            return await self._invalid(exc)
        except Exception as exc:  # noqa: BLE001  the mapping from exceptions to statuses is vLLM's
            response = create_error_response(exc)
        if (task := asyncio.current_task()) and task.cancelling():
            # vLLM turns a cancellation into a "Client disconnected" answer; to us it still is a cancellation.
            raise asyncio.CancelledError
        return (response.error.code if isinstance(response, ErrorResponse) else 200), response.model_dump(mode="json")

    async def _invalid(self, exc: ValidationError) -> Answer:
        """The answer to a body of the wrong shape, worded by `vllm serve`'s handler of FastAPI's errors."""
        errors = [{**error, "loc": ("body", *error["loc"])} for error in exc.errors()]
        http: Any = SimpleNamespace(app=SimpleNamespace(state=self._state), state=State())
        response = await validation_exception_handler(http, RequestValidationError(errors))
        return response.status_code, json.loads(response.body)

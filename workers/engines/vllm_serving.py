"""One OpenAI request answered by vLLM's own serving layer, in process and without HTTP, as `vllm run-batch` does."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import State
from starlette.responses import Response
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.handlers.validation import validation_exception_handler
from vllm.v1.engine.exceptions import EngineDeadError

from app.domain.completion import error_body
from app.domain.endpoints import UNANSWERED, unanswered

Answer = tuple[int, dict[str, Any]]
"""HTTP status and body."""


class _Route(NamedTuple):
    request: TypeAdapter[Any]
    handler: str
    """Where vLLM's state has what answers; it is missing where the model cannot."""
    method: str
    prefix: str = ""
    """Of the ids of requests, where vLLM does not put it there itself."""


_ROUTES: Mapping[str, _Route] = {
    "/v1/chat/completions": _Route(TypeAdapter(ChatCompletionRequest), "openai_serving_chat", "create_chat_completion"),
    "/v1/completions": _Route(TypeAdapter(CompletionRequest), "openai_serving_completion", "create_completion"),
    "/v1/responses": _Route(
        TypeAdapter(ResponsesRequest), "openai_serving_responses", "create_responses", prefix="resp_"
    ),
    "/v1/embeddings": _Route(TypeAdapter(EmbeddingRequest), "serving_embedding", "__call__"),
}


class ServingLayer:
    """The endpoints of `vllm serve` that a batch may name."""

    def __init__(self, state: State, model: str) -> None:
        self._state = state
        self._model = model
        self._endpoints: dict[str, Callable[[Any], Awaitable[Any]]] = {
            path: getattr(handler, route.method)
            for path, route in _ROUTES.items()
            if (handler := getattr(state, route.handler, None)) is not None
        }

    @property
    def endpoints(self) -> Sequence[str]:
        """Those that the model answers."""
        return tuple(self._endpoints)

    @classmethod
    async def over(cls, client: EngineClient, args: Namespace) -> ServingLayer:
        """The serving layer of `client`, set up by the options of `vllm serve`."""
        state = State()
        await init_app_state(client, state, args, await client.get_supported_tasks())
        return cls(state, state.openai_serving_models.base_model_paths[0].name)

    async def answer(self, endpoint: str, body: Mapping[str, Any], *, request_id: str) -> Answer:
        """What `vllm serve` would answer to a POST of `body`. The engine knows the request by an id that contains
        `request_id`, and so does the answer.

        Raises:
            EngineDeadError: the engine core is gone.
        """
        if endpoint not in self._endpoints:
            return 400, error_body(unanswered(self._model, endpoint, self.endpoints), param="url", code=UNANSWERED)
        route = _ROUTES[endpoint]
        try:
            # vLLM's own validators raise past pydantic, hence inside.
            request = route.request.validate_python({**body, "request_id": f"{route.prefix}{request_id}"})
            response = await self._endpoints[endpoint](request)
        except EngineDeadError:
            raise
        except ValidationError as exc:
            return await self._invalid(exc)
        except Exception as exc:  # noqa: BLE001  the mapping from exceptions to statuses is vLLM's
            response = create_error_response(exc)
        if (task := asyncio.current_task()) and task.cancelling():
            # vLLM turns a cancellation into a "Client disconnected" answer; to us it still is a cancellation.
            raise asyncio.CancelledError
        if isinstance(response, Response):
            return response.status_code, json.loads(bytes(response.body))
        status = response.error.code if isinstance(response, ErrorResponse) else 200
        return status, response.model_dump(mode="json", by_alias=True)

    async def _invalid(self, exc: ValidationError) -> Answer:
        """The answer to a body of the wrong shape, worded by `vllm serve`'s handler of FastAPI's errors."""
        errors = [{**error, "loc": ("body", *error["loc"])} for error in exc.errors()]
        http: Any = SimpleNamespace(app=SimpleNamespace(state=self._state), state=State())
        response = await validation_exception_handler(http, RequestValidationError(errors))
        return response.status_code, json.loads(response.body)

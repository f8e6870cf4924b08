"""The HTTP application without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from app.api.main import create_app
from app.services.context import Context

LOCAL = "http://127.0.0.1:8000"


class Api:
    """Calls the application as a program on this machine would; what it raises unexpectedly, a call raises."""

    def __init__(self, context: Context) -> None:
        self.app = create_app(context)

    def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return asyncio.run(self._send(method, path, arguments))

    async def _send(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        base_url = arguments.pop("base_url", LOCAL)
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            return await client.request(method, path, **arguments)

    def get(self, path: str, **arguments: Any) -> Any:
        """The JSON of a successful GET."""
        return self._successful("GET", path, arguments)

    def post(self, path: str, **arguments: Any) -> Any:
        """The JSON of a successful POST."""
        return self._successful("POST", path, arguments)

    def upload(self, content: bytes, *, filename: str = "in.jsonl") -> str:
        """The id of a new input file."""
        sent = self.post("/v1/files", data={"purpose": "batch"}, files={"file": (filename, content)})
        return str(sent["id"])

    def _successful(self, method: str, path: str, arguments: dict[str, Any]) -> Any:
        response = self(method, path, **arguments)
        assert response.status_code == 200, response.text
        return response.json()


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error object of a refusal with this status, which has OpenAI's form."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    return error

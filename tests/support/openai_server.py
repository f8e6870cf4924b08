"""A real HTTP server on loopback that speaks OpenAI's chat and text completions and does what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import LoopbackServer

HANG = "[hang]"
"""A prompt with this word is never answered."""
REFUSE = "[refuse]"
"""A prompt with this word is answered with status 400."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What the server answers; `text`, if given, is sent instead of `body`."""

    status: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


DROP = Response(status=0)
"""The connection is closed without an answer."""

Script = Callable[[dict[str, Any]], Response | None]
"""Sees each request's body; None leaves the request to the server's own rules."""


class OpenAIServer(LoopbackServer):
    """`with OpenAIServer() as server:` and point a client at `server.url`. Without a script it echoes the prompt.

    Tokens are words: an echo costs as many as it has, and `max_tokens` cuts it.
    """

    def __init__(self, on_request: Script | None = None, *, port: int = 0) -> None:
        super().__init__(_handler(self), port=port)
        self.on_request = on_request
        self.requests: list[dict[str, Any]] = []
        """The bodies received so far, in order of arrival."""
        self.headers: list[dict[str, str]] = []
        """Their HTTP headers, names in lower case."""

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def respond(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Response | None:
        """The answer to one POST; None if it is not answered before the server closes."""
        self.headers.append(headers)
        self.requests.append(body)
        scripted = self.on_request(body) if self.on_request else None
        if scripted is not None:
            return scripted
        if HANG in prompt_of(body).split():
            self.closing.wait()
            return None
        status, answer = echo(path, body)
        return Response(status=status, body=answer)


def failing_first(times: int, response: Response) -> Script:
    """A script that answers the first `times` requests with `response`."""
    left = iter([response] * times)
    return lambda body: next(left, None)


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text prompt, or the last message of the chat."""
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def echo(path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of the default answer: the prompt's own words, or a refusal."""
    prompt = prompt_of(body)
    if REFUSE in prompt.split() or body.get("temperature", 1) < 0:
        message = "temperature must be non-negative." if REFUSE not in prompt.split() else "Refused on request."
        return 400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    words = prompt.split()
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
    answer = " ".join(words[:limit])
    finish = "length" if limit < len(words) else "stop"
    chat = path.endswith("/chat/completions")
    content = {"message": {"role": "assistant", "content": answer}} if chat else {"text": answer}
    choices = [{"index": index, **content, "finish_reason": finish} for index in range(body.get("n") or 1)]
    texts = [str(message["content"]) for message in body["messages"]] if chat else [prompt]
    spent = sum(len(text.split()) for text in texts), len(answer.split()) * len(choices)
    usage = {"prompt_tokens": spent[0], "completion_tokens": spent[1], "total_tokens": sum(spent)}
    kind = "chat.completion" if chat else "text_completion"
    return 200, {
        "id": "echo",
        "object": kind,
        "created": 0,
        "model": body.get("model"),
        "choices": choices,
        "usage": usage,
        "system_fingerprint": None,
    }


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = server.respond(self.path, body, headers)
            if response is None or response is DROP:
                self.close_connection = True
                return
            payload = (json.dumps(response.body) if response.text is None else response.text).encode()
            self.send_response(response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            """Quiet: a test that fails shows `server.requests`."""

    return Handler

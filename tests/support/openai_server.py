"""A real HTTP server on loopback that answers as OpenAI does on all endpoints of a batch, or as a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
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
    """The last text that is asked: of a chat or of items its last message, of several texts the last."""
    asked = body.get("messages") or body.get("prompt") or body.get("input")
    last = asked[-1] if isinstance(asked, list) else asked
    content = last["content"] if isinstance(last, dict) else last
    return str(content[-1]["text"] if isinstance(content, list) and isinstance(content[-1], dict) else content)


def echo(path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of the default answer: the prompt's own words, or a refusal."""
    prompt = prompt_of(body)
    if REFUSE in prompt.split() or body.get("temperature", 1) < 0:
        message = "temperature must be non-negative." if REFUSE not in prompt.split() else "Refused on request."
        return 400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    endpoint = path.removeprefix("/v1")
    answered = {"/responses": _response, "/embeddings": _embeddings}.get(endpoint, _completion)
    return 200, {"id": "echo", "model": body.get("model"), **answered(body, endpoint)}


def _completion(body: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    chat = endpoint == "/chat/completions"
    prompts = [prompt_of(body)] if chat else _texts(body["prompt"])
    read = [str(message["content"]) for message in body["messages"]] if chat else prompts
    said = [_echoed(prompt, body, "max_completion_tokens", "max_tokens") for prompt in prompts]
    choices = [
        {**({"message": {"role": "assistant", "content": answer}} if chat else {"text": answer}), "finish_reason": end}
        for answer, end in said
        for _ in range(body.get("n") or 1)
    ]
    spent = _words(read), _words([answer for answer, _ in said]) * (body.get("n") or 1)
    return {
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": {"prompt_tokens": spent[0], "completion_tokens": spent[1], "total_tokens": sum(spent)},
        "system_fingerprint": None,
    }


def _response(body: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    answer, end = _echoed(prompt_of(body), body, "max_output_tokens")
    items = body["input"] if isinstance(body["input"], list) else [{"content": body["input"]}]
    spent = _words([body.get("instructions") or "", *(str(item.get("content")) for item in items)]), _words([answer])
    said = {"type": "output_text", "text": answer, "annotations": []}
    return {
        "object": "response",
        "created_at": 0,
        "status": "completed" if end == "stop" else "incomplete",
        "output": [
            {"type": "reasoning", "id": "thought", "summary": []},
            {"type": "message", "id": "echo", "role": "assistant", "status": "completed", "content": [said]},
        ],
        "usage": {"input_tokens": spent[0], "output_tokens": spent[1], "total_tokens": sum(spent)},
    }


def _embeddings(body: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    """Each is the length of its text and its number of words."""
    texts = _texts(body["input"])
    found = [[float(len(text)), float(len(text.split()))] for text in texts]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(found)],
        "usage": {"prompt_tokens": _words(texts), "total_tokens": _words(texts)},
    }


def _texts(value: Any) -> list[str]:
    """Of a text or a list of texts; the numbers of tokens are its words."""
    if isinstance(value, str):
        return [value]
    if isinstance(value[0], int):
        return [" ".join(map(str, value))]
    return [text for item in value for text in _texts(item)]


def _echoed(prompt: str, body: Mapping[str, Any], *limits: str) -> tuple[str, str]:
    """An answer no longer than it may be, and why it ends."""
    words = prompt.split()
    limit = next((body[name] for name in limits if body.get(name)), len(words))
    return " ".join(words[:limit]), "length" if limit < len(words) else "stop"


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


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

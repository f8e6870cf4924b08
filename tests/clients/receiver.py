"""What the suites in Python share: a batch's lines, and a webhook of their own on loopback."""

from __future__ import annotations

import json
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WITHIN_S = 30.0


def jsonl(prompts: dict[str, str]) -> bytes:
    """A line for each custom_id."""
    lines = [
        {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "echo", "messages": [{"role": "user", "content": prompt}]},
        }
        for custom_id, prompt in prompts.items()
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def until(look: Callable[[], Any], done: Callable[[Any], object]) -> Any:
    """The first of what `look` finds that is `done`."""
    deadline = time.monotonic() + WITHIN_S
    while not done(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


class Webhook:
    """`calls` gets the headers and body of each."""

    def __init__(self, api_url: str) -> None:
        self._api = f"{api_url}/sprout/v1/webhooks"
        self.calls: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.secret = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                calls.put((dict(self.headers.items()), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        added = self._ask("POST", self._api, {"url": f"http://127.0.0.1:{server.server_address[1]}/hook"})
        self.secret = added["signing_secret"]
        try:
            yield
        finally:
            self._ask("DELETE", f"{self._api}/{added['id']}", {})
            server.shutdown()

    def about(self, batch_id: str) -> tuple[dict[str, str], bytes]:
        """The call about a batch; those about others' are left out."""
        while True:
            headers, body = self.calls.get(timeout=WITHIN_S)
            if json.loads(body)["data"]["id"] == batch_id:
                return headers, body

    def _ask(self, method: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request) as response:
            found: dict[str, Any] = json.load(response)
        return found

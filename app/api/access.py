"""Who may call, and how much they may send: decided before a byte of the body is read."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.limits import MAX_BODY_BYTES, limited, refusal_of_size, shallow
from app.domain.completion import error_body
from app.services.context import Context
from app.settings import Settings
from app.store.database import TENANT
from app.web.pages import VOTE_PAGE

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/healthz"})
UPLOADS = "/v1/files"
"""What takes long bodies."""
VOTES = "/sprout/v1/votes"
"""What our own page sends to."""


class Guard:
    """ASGI middleware around the whole API.

    Without a key the API answers on loopback only, and a web page that the user has open must not reach it: neither
    from its own origin nor under a name that it made point here. Our own page may send votes, and nothing else.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._max_file_bytes = settings.max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == UPLOADS
        limit = MAX_BODY_BYTES + (self._max_file_bytes if is_upload else 0)
        refusal = self._refusal(Request(scope)) or refusal_of_size(scope, limit)
        if refusal is not None:
            status, message = refusal
            await JSONResponse(error_body(message), status_code=status)(scope, receive, send)
            return
        body = limited(receive, limit)
        await self._app(scope, body if is_upload else shallow(body), send)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        if self._key is not None:
            if request.scope["path"] == VOTE_PAGE:
                # It holds no data, and asks for the key.
                return None
            # Headers arrive as Latin-1, whatever was meant: back to the bytes.
            given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
            if not hmac.compare_digest(given, self._key):
                return 401, "Incorrect API key provided: send the key of SPROUT_API_KEY as bearer token."
        elif _is_foreign(request) or request.url.hostname not in LOOPBACK:
            return 403, "Without SPROUT_API_KEY the API answers programs on this machine only."
        return None


def _is_foreign(request: Request) -> bool:
    """Whether a web page sends this that is not ours. A browser states the origin of whatever a page posts."""
    origin = request.headers.get("origin")
    if origin is None:
        return False
    return request.scope["path"] != VOTES or origin != f"{request.url.scheme}://{request.headers.get('host')}"


def get_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def tenant() -> str:
    """The caller's tenant: whoever passes the guard."""
    return TENANT


Caller = Annotated[str, Depends(tenant)]
Services = Annotated[Context, Depends(get_context)]

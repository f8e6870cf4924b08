"""Who may call, and how much they may send: decided before a byte of the body is read."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.callers import Callers
from app.api.limits import MAX_BODY_BYTES, limited, refusal_of_size, shallow
from app.api.scopes import needed
from app.domain.completion import error_body
from app.domain.errors import ServiceUnavailable
from app.domain.tenant import EVERYTHING
from app.services import keys
from app.services.context import Context
from app.services.keys import OWNER
from app.web.pages import VOTE_PAGE

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/healthz"})
UPLOADS = "/v1/files"
"""What takes long bodies."""
VOTES = "/sprout/v1/votes"
"""What our own page sends to."""
WRONG_KEY = (
    "Incorrect API key provided: send one of `sprout keys create`, or the operator's key of SPROUT_API_KEY, as bearer "
    "token."
)


class Guard:
    """ASGI middleware around the whole API: lets in whoever has a key with the scope of the route.

    Without any key the API answers on loopback only, and a web page that the user has open must not reach it: neither
    from its own origin nor under a name that it made point here. Our own page may send votes, and nothing else.
    """

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        settings = context.settings
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._is_local = settings.api_host in LOOPBACK
        self._max_file_bytes = settings.max_file_bytes
        self._callers = Callers(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == UPLOADS
        limit = MAX_BODY_BYTES + (self._max_file_bytes if is_upload else 0)
        try:
            caller = await self._caller(Request(scope))
            if caller is not None:
                _check_scope(caller, scope["method"], scope["path"])
                scope.setdefault("state", {})["caller"] = caller
            too_large = refusal_of_size(scope, limit)
            if too_large is not None:
                raise _Refused(*too_large)
        except _Refused as exc:
            body = error_body(exc.message, kind=exc.kind, code=exc.code)
            await JSONResponse(body, status_code=exc.status)(scope, receive, send)
            return
        received = limited(receive, limit)
        await self._app(scope, received if is_upload else shallow(received), send)

    async def _caller(self, request: Request) -> keys.Caller | None:
        """Who calls; None for the page that holds no data and asks for the key. Raises _Refused."""
        # Headers arrive as Latin-1, whatever was meant: back to the bytes.
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if self._key is not None and hmac.compare_digest(given, self._key):
            return OWNER
        try:
            is_asked = self._key is not None or not self._is_local or await self._callers.exist()
            caller = await self._callers.of(given) if is_asked and given else None
        except ServiceUnavailable as exc:
            raise _Refused(503, exc.message, kind="server_error") from exc
        if caller is not None:
            return caller
        if is_asked:
            if request.scope["path"] == VOTE_PAGE:
                return None
            raise _Refused(401, WRONG_KEY, code="invalid_api_key")
        if _is_foreign(request) or request.url.hostname not in LOOPBACK:
            raise _Refused(403, "Without an API key the API answers programs on this machine only.")
        return OWNER


class _Refused(Exception):
    """A request that goes no further."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code = status, message, kind, code


def _check_scope(caller: keys.Caller, method: str, path: str) -> None:
    """Raises _Refused."""
    if caller.scopes >= EVERYTHING or path == VOTE_PAGE:
        return
    scope = needed(method, path)
    if scope is None:
        raise _Refused(404, f"There is no {method} {path} for this API key.")
    if scope not in caller.scopes:
        raise _Refused(403, f"This API key lacks the scope '{scope}': ask the operator for one that has it.")


def _is_foreign(request: Request) -> bool:
    """Whether a web page sends this that is not ours. A browser states the origin of whatever a page posts."""
    origin = request.headers.get("origin")
    if origin is None:
        return False
    return request.scope["path"] != VOTES or origin != f"{request.url.scheme}://{request.headers.get('host')}"


def get_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def tenant(request: Request) -> str:
    """The caller's tenant: whoever passes the guard."""
    caller: keys.Caller = request.state.caller
    return caller.tenant


Caller = Annotated[str, Depends(tenant)]
Services = Annotated[Context, Depends(get_context)]

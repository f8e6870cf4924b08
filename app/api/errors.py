"""Sprout's errors as OpenAI's HTTP errors. The only place that knows status codes."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.domain.completion import error_body
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import (
    Conflict,
    DispatchUnavailable,
    InvalidInput,
    LimitExceeded,
    NotFound,
    ServiceUnavailable,
    SproutError,
    TooLarge,
)

log = logging.getLogger(__name__)

# OpenAI's own answer to a conflict is 400; its client repeats a 409.
STATUS: dict[type[SproutError], int] = {
    TooLarge: 413,
    InvalidInput: 400,
    Conflict: 400,
    NotFound: 404,
    LimitExceeded: 429,
    DispatchUnavailable: 503,
    ServiceUnavailable: 503,
}


def _answer(status: int, message: str, *, param: str | None = None, code: str | None = None) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(error_body(message, kind=kind, param=param, code=code), status_code=status)


def _limited(status: int, exc: LimitExceeded) -> JSONResponse:
    wait_s = exc.retry_after_s
    headers = {} if wait_s is None else {"Retry-After": str(max(math.ceil(wait_s), 1))}
    kind = "requests" if exc.code == "rate_limit_exceeded" else exc.code
    return JSONResponse(error_body(exc.message, kind=kind, code=exc.code), status_code=status, headers=headers)


async def _sprout_error(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, SproutError)
    status = next((code for kind, code in STATUS.items() if isinstance(exc, kind)), 500)
    if status >= 500:
        log.error("%s: %s", type(exc).__name__, exc.message)
    if isinstance(exc, InvalidInput | NotFound):
        return _answer(status, exc.message, param=exc.param, code=exc.code)
    if isinstance(exc, LimitExceeded):
        return _limited(status, exc)
    return _answer(status, exc.message)


async def _invalid(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    place, *names = first["loc"]
    # Of a body that is not JSON, the location is a number of characters.
    param = ".".join(name for name in names if isinstance(name, str)) or None
    return _answer(400, f"Invalid value for '{param or place}': {first['msg']}.", param=param)


async def _http(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    answer = _answer(exc.status_code, _nowhere(request) if exc.status_code in (404, 405) else str(exc.detail))
    answer.headers.update(exc.headers or {})
    return answer


def _nowhere(request: Request) -> str:
    """Nothing else of ours is one of these: what is not found is a NotFound."""
    asked = f"There is no {request.method} {request.url.path}"
    if request.url.path in ENDPOINTS:
        return f"{asked}: put such requests into the lines of a file, and create a batch of it with POST /v1/batches."
    return f"{asked}: GET /openapi.json describes all that there is."


async def _unexpected(_: Request, exc: Exception) -> JSONResponse:
    return _answer(500, f"Sprout failed unexpectedly ({type(exc).__name__}): its log says more.")


def install(app: FastAPI) -> None:
    app.add_exception_handler(SproutError, _sprout_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)

"""Who may call: the bearer key if one is set, and never a web page."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from app.services.context import Context
from app.store.database import TENANT

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def get_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def tenant(
    request: Request,
    context: Annotated[Context, Depends(get_context)],
    authorization: Annotated[str | None, Header()] = None,
    origin: Annotated[str | None, Header()] = None,
) -> str:
    """The caller's tenant.

    Without a key the API answers on loopback only, and a web page that the user has open must not reach it: neither
    from its own origin nor under a name that it made point here.
    """
    key = context.settings.api_key
    if key is not None:
        # Headers arrive as Latin-1, whatever was meant: back to the bytes.
        given = (authorization or "").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, key.get_secret_value().encode()):
            raise HTTPException(401, "Incorrect API key provided: send the key of SPROUT_API_KEY as bearer token.")
    elif origin is not None or request.url.hostname not in LOOPBACK:
        raise HTTPException(403, "Without SPROUT_API_KEY the API answers programs on this machine only.")
    return TENANT


Caller = Annotated[str, Depends(tenant)]
Services = Annotated[Context, Depends(get_context)]

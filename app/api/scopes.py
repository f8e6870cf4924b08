"""Which scope a caller needs for which route: the one place that says so."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import compile_path

from app.domain.tenant import Scope

READ, WRITE, VOTE, OPERATE = Scope.READ, Scope.WRITE, Scope.VOTE, Scope.OPERATE

SCOPES: Mapping[str, Mapping[str, Scope]] = {
    "/v1/files": {"GET": READ, "POST": WRITE},
    "/v1/files/{file_id}": {"GET": READ, "DELETE": WRITE},
    "/v1/files/{file_id}/content": {"GET": READ},
    "/v1/batches": {"GET": READ, "POST": WRITE},
    "/v1/batches/{batch_id}": {"GET": READ},
    "/v1/batches/{batch_id}/cancel": {"POST": WRITE},
    "/v1/batches/{batch_id}/pause": {"POST": WRITE},
    "/v1/batches/{batch_id}/resume": {"POST": WRITE},
    "/v1/batches/{batch_id}/retry": {"POST": WRITE},
    "/v1/batches/{batch_id}/results": {"GET": READ},
    "/v1/models": {"GET": READ},
    "/v1/models/{name:path}": {"GET": READ},
    "/sprout/v1/webhooks": {"GET": READ, "POST": WRITE},
    "/sprout/v1/webhooks/{webhook_id}": {"DELETE": WRITE},
    "/sprout/v1/webhooks/{webhook_id}/rotate_secret": {"POST": WRITE},
    "/sprout/v1/batches/{batch_id}": {"DELETE": WRITE},
    "/sprout/v1/batches/{batch_id}/release": {"POST": WRITE},
    "/sprout/v1/batches/{batch_id}/wait": {"GET": READ},
    "/sprout/v1/batches/{batch_id}/report": {"GET": READ},
    "/sprout/v1/directives": {"GET": READ},
    "/sprout/v1/evaluations": {"GET": READ},
    "/sprout/v1/intensity": {"GET": READ},
    "/sprout/v1/quote": {"POST": READ},
    "/sprout/v1/votes/next": {"GET": VOTE},
    "/sprout/v1/votes": {"POST": VOTE},
    "/metrics": {"GET": OPERATE},
    "/openapi.json": {"GET": READ},
    "/docs": {"GET": READ},
    "/docs/oauth2-redirect": {"GET": READ},
    "/redoc": {"GET": READ},
}
"""By path and method."""

_ROUTES = [(compile_path(path)[0], methods) for path, methods in SCOPES.items()]


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None where nothing is declared, be there a route or not."""
    asked = "GET" if method == "HEAD" else method
    return next((methods.get(asked) for pattern, methods in _ROUTES if pattern.match(path)), None)

"""Static pages. They hold no data: what they show, their script asks the API for."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

VOTE_PAGE = "/vote"

_HTML = files(__package__).joinpath("vote.html").read_text(encoding="utf-8")


def _hashes(element: str) -> str:
    """CSP sources that allow the page's own inline elements of this name, and no other's."""
    texts = re.findall(rf"<{element}>(.*?)</{element}>", _HTML, re.DOTALL)
    digests = (base64.b64encode(sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes('script')}",
            f"style-src {_hashes('style')}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            # Text may not become HTML, whatever the script does.
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get(VOTE_PAGE)
def vote_page() -> HTMLResponse:
    """Where people vote on pairs of answers."""
    return HTMLResponse(_HTML, headers=HEADERS)

"""A file's content as an HTTP response: in pieces as it is read, whole or a range of it (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import format_datetime
from typing import BinaryIO
from urllib.parse import quote

from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from app.store.files import File

PIECE_BYTES = 1 << 18
"""As much is read and sent at once."""

_RANGE = re.compile(r"bytes=\s*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*", re.IGNORECASE | re.ASCII)


def content_response(request: Request, file: File, content: BinaryIO) -> Response:
    """The answer to GET or HEAD; `content` is closed in the end.

    Several ranges at once, or what is no range, are answered with the whole, as the RFC allows.

    Raises:
        HTTPException: 416, the range begins behind the file's end.
    """
    headers = _headers(file)
    if _is_known(request, headers["etag"]):
        content.close()
        return Response(status_code=304, headers={"etag": headers["etag"]})
    if request.method == "HEAD":
        content.close()
        return Response(headers={**headers, "content-length": str(file.bytes)})
    try:
        part = _part(request, headers, file.bytes)
    except HTTPException:
        content.close()
        raise
    first, end = part or (0, file.bytes)
    headers["content-length"] = str(end - first)
    if part:
        headers["content-range"] = f"bytes {first}-{end - 1}/{file.bytes}"
    return StreamingResponse(_pieces(content, first, end), status_code=206 if part else 200, headers=headers)


def _is_known(request: Request, etag: str) -> bool:
    tags = request.headers.get("if-none-match", "").split(",")
    return not {etag, "*"}.isdisjoint(tag.strip().removeprefix("W/") for tag in tags)


def _headers(file: File) -> dict[str, str]:
    name = quote(file.filename, safe="")
    return {
        "accept-ranges": "bytes",
        # What an id stands for never changes.
        "etag": f'"{file.id}"',
        "last-modified": format_datetime(file.created_at.astimezone(UTC), usegmt=True),
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
    }


def _part(request: Request, headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """First byte and end of the range that is asked for; None for the whole."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    held = request.headers.get("if-range", headers["etag"])
    if found is None or held not in (headers["etag"], headers["last-modified"]):
        return None
    begin, last, suffix = found.groups()
    if begin is None:
        first, end = max(0, size - int(suffix)), size
    else:
        first, end = int(begin), min(size, int(last) + 1 if last else size)
        if last and int(last) < first:
            return None
    if first >= size:
        message = f"The file has {size} bytes: ask for a range within them."
        raise HTTPException(416, message, headers={"content-range": f"bytes */{size}"})
    return first, end


def _pieces(content: BinaryIO, first: int, end: int) -> Iterator[bytes]:
    with content:
        content.seek(first)
        left = end - first
        while left and (piece := content.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece

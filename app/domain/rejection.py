"""A line of an input file that validation has rejected: it becomes an error of its own, and the others run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidRequestLine


@dataclass(frozen=True, kw_only=True)
class Rejection:
    line: int
    """1-based line number in the input file."""
    custom_id: str | None
    """As the line gives it, even if another line has it too; None where it gives none that can be used."""
    code: str
    param: str | None
    message: str
    """Names the line, the fault and the remedy."""

    @property
    def fault(self) -> Mapping[str, Any]:
        """As a batch shows it among its errors."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


def rejection(exc: InvalidRequestLine) -> Rejection:
    return Rejection(
        line=exc.line,
        custom_id=exc.custom_id,
        code=exc.code or "invalid_request",
        param=exc.param,
        message=exc.message,
    )

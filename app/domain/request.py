"""One line of a batch input file, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.domain.batch import EVALUATION_KEY
from app.domain.directive import L0, parse_level
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import InvalidInput, InvalidRequestLine
from app.domain.workload import DEFAULT_WORKLOAD, parse_workload

MAX_CUSTOM_ID = 512
MAX_MODEL = 256
MAX_DEPTH = 100
"""Arrays and objects inside each other; JSON schemas need about ten, and every part down to the engine recurses."""
_NO_METADATA: Mapping[str, str] = {}
LEVEL_KEY = "sprout_level"
WORKLOAD_KEY = "sprout_workload"
"""Metadata keys, of a batch or of one line's body, by which a user declares a workload and pins a level."""
REFERENCE_KEY = "sprout_reference"
"""And that by which a line's body gives the answer that is known to be right."""


@dataclass(frozen=True, kw_only=True)
class RequestDefaults:
    """What a batch says about all of its lines."""

    endpoint: str
    """A path of `app.domain.endpoints.ENDPOINTS`."""
    model: str | None
    """The model that every line must name: a batch runs on one. None: lines may name any, and several."""
    known_models: frozenset[str] = frozenset()
    """Those that are served, or were: a line that names none of them is told so."""
    levels: int
    workload: str = DEFAULT_WORKLOAD
    pinned_level: int | None = None
    level_stated: bool = False
    """Whether the user chose `pinned_level` (or `auto`), which then also holds for structured output and tools."""
    max_line_bytes: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Request:
    line: int
    """1-based line number in the input file."""
    custom_id: str
    body: Mapping[str, Any]
    workload: str
    pinned_level: int | None
    """None: the level is drawn from the directive mix of the workload."""
    body_json: bytes | None = None
    """`body` as it came, in UTF-8; None where it has to be written anew."""


def batch_controls(metadata: Mapping[str, str], defaults: RequestDefaults) -> RequestDefaults:
    """`defaults` with what a batch's metadata declares.

    Raises:
        InvalidInput: an unusable workload name or level.
    """
    workload, pinned, stated = _controls(metadata, defaults, param="metadata")
    return replace(defaults, workload=workload, pinned_level=pinned, level_stated=stated)


def parse_line(raw: bytes, *, line: int, defaults: RequestDefaults) -> Request:
    """Check one non-blank line of an input file.

    Raises:
        InvalidRequestLine: with the line number, and a sentence that names the fault and the remedy.
    """
    try:
        if len(raw) > defaults.max_line_bytes:
            raise InvalidInput(
                f"the line has {len(raw)} bytes and the limit is {defaults.max_line_bytes}: shorten the prompt or "
                "split it into several requests.",
                code="line_too_long",
            )
        entry = _json_object(raw)
    except InvalidInput as exc:
        raise _fault_of_line(exc, line) from exc
    return check_entry(entry, line=line, defaults=defaults)


def check_entry(
    entry: Mapping[str, Any], *, line: int, defaults: RequestDefaults, body_json: bytes | None = None
) -> Request:
    """Check the object of one line; it and all in it can be stored as JSON, and `depth` of it is at most MAX_DEPTH.

    Raises:
        InvalidRequestLine: as `parse_line`.
    """
    custom_id = entry.get("custom_id")
    try:
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID or not custom_id.isprintable():
            raise _bad_custom_id(is_missing=custom_id is None)
        if entry.get("method") != "POST":
            raise InvalidInput(
                f"'method' must be \"POST\", not {_shown(entry.get('method'))}.", param="method", code="invalid_method"
            )
        if entry.get("url") != defaults.endpoint:
            raise InvalidInput(
                f"'url' is {_shown(entry.get('url'))} but this batch is for {defaults.endpoint}: give every line that "
                "url.",
                param="url",
                code="mismatched_url",
            )
        body = _checked_body(entry.get("body"), defaults)
        workload, pinned, stated = _controls(_metadata(body), defaults, param="body.metadata")
    except InvalidInput as exc:
        raise _fault_of_line(exc, line, None if exc.param == "custom_id" else custom_id) from exc
    endpoint = ENDPOINTS[defaults.endpoint]
    if not endpoint.takes_directive(body) or (pinned is None and not stated and endpoint.wants_exact_form(body)):
        pinned = L0
    return Request(
        line=line, custom_id=custom_id, body=body, workload=workload, pinned_level=pinned, body_json=body_json
    )


def _bad_custom_id(*, is_missing: bool) -> InvalidInput:
    return InvalidInput(
        f"'custom_id' must be a text of 1 to {MAX_CUSTOM_ID} printable characters, unique in the file.",
        param="custom_id",
        code="missing_required_parameter" if is_missing else "invalid_custom_id",
    )


def _fault_of_line(exc: InvalidInput, line: int, custom_id: str | None = None) -> InvalidRequestLine:
    return InvalidRequestLine(
        f"Line {line}: {exc.message}", line=line, custom_id=custom_id, param=exc.param, code=exc.code
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
        # JSON can say what nobody can store or send on: half a surrogate pair, a number beyond every float.
        json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()
        if depth(entry) > MAX_DEPTH:
            raise RecursionError
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(
            f"this is not usable JSON ({_fault(exc)}): write one JSON object per line, in UTF-8, without line breaks "
            "inside.",
            code="invalid_json_line",
        ) from exc
    if not isinstance(entry, dict):
        raise InvalidInput("the line must be a JSON object with custom_id, method, url and body.", code="invalid_line")
    return entry


def _fault(exc: ValueError | RecursionError) -> str:
    match exc:
        case json.JSONDecodeError():
            return exc.msg
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case UnicodeEncodeError():
            return "it holds half of a surrogate pair"
        case RecursionError():
            return f"it is nested more than {MAX_DEPTH} levels deep"
        case _:
            return "it holds NaN, Infinity or a number that is too large"


def depth(value: object) -> int:
    """Arrays and objects inside each other. Raises RecursionError far beyond MAX_DEPTH."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked_body(body: object, defaults: RequestDefaults) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInput(
            "'body' must be a JSON object: the parameters of the request.", param="body", code="invalid_body"
        )
    _check_model(body.get("model"), defaults)
    if body.get("stream"):
        raise InvalidInput(
            "'stream' cannot be used in a batch: remove it.", param="body.stream", code="stream_not_supported"
        )
    ENDPOINTS[defaults.endpoint].check(body)
    return body


def _check_model(model: object, defaults: RequestDefaults) -> None:
    expected = defaults.model
    if not isinstance(model, str) or not model:
        hint = f", such as {expected}" if expected else ""
        raise InvalidInput(f"'body.model' is missing: name the model{hint}.", param="model", code="model_not_found")
    if len(model) > MAX_MODEL or not model.isprintable():
        raise InvalidInput(
            f"'body.model' must be a name of at most {MAX_MODEL} printable characters.",
            param="model",
            code="model_not_found",
        )
    if expected is None or model == expected:
        return
    if model not in defaults.known_models:
        raise InvalidInput(
            f"no worker serves the model {_shown(model)}, and this batch runs on {_shown(expected)}: name that one.",
            param="model",
            code="model_not_found",
        )
    raise InvalidInput(
        f"the model is {_shown(model)} but this batch runs on {_shown(expected)}: a batch runs on one model, so give "
        "each its own file.",
        param="model",
        code="mismatched_model",
    )


def named_model(raw: bytes) -> str | None:
    """The model that a line names; None where it names none, or is faulty in a way that `parse_line` reports."""
    try:
        model = json.loads(raw.decode("utf-8-sig"))["body"]["model"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return model if isinstance(model, str) and model else None


def _metadata(body: Mapping[str, Any]) -> Mapping[str, str]:
    metadata = body.get("metadata")
    if not metadata:
        return _NO_METADATA
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InvalidInput(
            "'body.metadata' must be an object of texts.", param="body.metadata", code="invalid_metadata"
        )
    if EVALUATION_KEY in metadata:
        # Were it passed over, a prompt that is to be private would be judged.
        raise InvalidInput(
            f"{EVALUATION_KEY!r} holds for a whole batch: put it into the batch's metadata.",
            param=f"body.metadata.{EVALUATION_KEY}",
            code="invalid_metadata",
        )
    return metadata


def _controls(metadata: Mapping[str, str], defaults: RequestDefaults, *, param: str) -> tuple[str, int | None, bool]:
    workload, pinned, stated = defaults.workload, defaults.pinned_level, defaults.level_stated
    if WORKLOAD_KEY in metadata:
        workload = parse_workload(metadata[WORKLOAD_KEY], param=f"{param}.{WORKLOAD_KEY}")
    if LEVEL_KEY in metadata:
        pinned = parse_level(metadata[LEVEL_KEY], levels=defaults.levels, param=f"{param}.{LEVEL_KEY}")
        stated = True
    return workload, pinned, stated


def _shown(value: object) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)[:80]

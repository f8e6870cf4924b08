from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidInput, InvalidRequestLine
from app.domain.request import (
    MAX_CUSTOM_ID,
    MAX_DEPTH,
    Request,
    RequestDefaults,
    batch_controls,
    named_model,
    parse_line,
)
from tests.support.factories import ENDPOINT, MODEL, line

DEFAULTS = RequestDefaults(endpoint=ENDPOINT, model=MODEL, levels=3)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}


def parse(entry: Any, **changes: Any) -> Request:
    raw = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    return parse_line(raw, line=7, defaults=replace(DEFAULTS, **changes))


def refusal(entry: Any, **changes: Any) -> InvalidRequestLine:
    with pytest.raises(InvalidRequestLine) as raised:
        parse(entry, **changes)
    assert raised.value.line == 7
    assert raised.value.message.startswith("Line 7: ")
    raised.value.message.encode()
    assert "\0" not in raised.value.message
    assert len(raised.value.message) < 1000
    return raised.value


def test_a_good_line() -> None:
    entry = line("ä-1", text="Grüße, 世界 🌱", temperature=0.5)
    assert parse(entry) == Request(line=7, custom_id="ä-1", body=entry["body"], workload="default", pinned_level=None)


def test_parameters_that_we_do_not_know_are_kept_for_the_engine() -> None:
    assert parse(line(top_k=5, chat_template_kwargs={"thinking": False})).body["top_k"] == 5


def test_escaped_and_plain_text_are_the_same() -> None:
    entry = line(text="Grüße 🌱")
    escaped, plain = json.dumps(entry).encode(), json.dumps(entry, ensure_ascii=False).encode()
    assert escaped != plain
    assert parse(escaped) == parse(plain)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(line()).encode()) == parse(line())


def test_an_escaped_nul_is_text() -> None:
    assert parse(line(text="a\0b")).body["messages"][0]["content"] == "a\0b"


def with_literal(literal: str) -> bytes:
    return json.dumps(line(temperature="HERE")).replace('"HERE"', literal).encode()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{", "Expecting property name"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b"not json", "Expecting value"),
        (b'{"custom_id": "a\0b"}', "Invalid control character"),
        (b"\0\0\0{", "Expecting value"),
        (b'{"custom_id": "\xff"}', "not UTF-8"),
        (json.dumps(line()).encode("utf-16"), "not UTF-8"),
        (json.dumps(line(text="\xe4"), ensure_ascii=False).encode("latin-1"), "not UTF-8"),
        (with_literal("NaN"), "NaN, Infinity or a number that is too large"),
        (with_literal("Infinity"), "NaN, Infinity or a number that is too large"),
        (with_literal("-Infinity"), "NaN, Infinity or a number that is too large"),
        (with_literal("1e999"), "NaN, Infinity or a number that is too large"),
        (with_literal("9" * 5000), "NaN, Infinity or a number that is too large"),
        (with_literal('"\\ud83c"'), "half of a surrogate pair"),
        (with_literal('{"\\udf31": 1}'), "half of a surrogate pair"),
        (b'{"custom_id": "\xed\xa0\xbc"}', "not UTF-8"),
        (with_literal("[" * 200 + "]" * 200), f"more than {MAX_DEPTH} levels"),
        (with_literal('{"a":' * 200 + "1" + "}" * 200), f"more than {MAX_DEPTH} levels"),
        (b"[" * 400_000, f"more than {MAX_DEPTH} levels"),
        (b'{"a":' * 100_000, f"more than {MAX_DEPTH} levels"),
    ],
)
def test_what_cannot_be_used_as_json(raw: bytes, fault: str) -> None:
    fault_found = refusal(raw)
    assert fault in fault_found.message
    assert "write one JSON object per line" in fault_found.message
    assert fault_found.code == "invalid_json_line"


def test_nesting_up_to_the_limit_is_accepted() -> None:
    inside = MAX_DEPTH - 2  # the line and its body come first
    assert parse(with_literal("[" * inside + "]" * inside)).custom_id == "request-1"
    assert "levels deep" in refusal(with_literal("[" * (inside + 1) + "]" * (inside + 1))).message


@pytest.mark.parametrize("entry", [[], [line()], "text", 1, None, True])
def test_a_line_that_is_no_object(entry: Any) -> None:
    fault = refusal(entry)
    assert "must be a JSON object with custom_id, method, url and body" in fault.message
    assert (fault.code, fault.custom_id) == ("invalid_line", None)


def test_a_line_may_be_as_long_as_the_limit_and_no_longer() -> None:
    raw = json.dumps(line()).encode()
    assert parse(raw, max_line_bytes=len(raw)).custom_id == "request-1"
    fault = refusal(raw, max_line_bytes=len(raw) - 1)
    assert f"has {len(raw)} bytes and the limit is {len(raw) - 1}: shorten" in fault.message
    assert fault.code == "line_too_long"


@pytest.mark.parametrize(
    "custom_id", [None, 1, "", "x" * (MAX_CUSTOM_ID + 1), "a\nb", "a\tb", "a\0b", "a\u2028b", ["a"], {}]
)
def test_custom_ids_that_are_refused(custom_id: Any) -> None:
    fault = refusal({**line(), "custom_id": custom_id})
    assert f"'custom_id' must be a text of 1 to {MAX_CUSTOM_ID} printable characters" in fault.message
    assert fault.param == "custom_id"
    assert fault.code == ("missing_required_parameter" if custom_id is None else "invalid_custom_id")


@pytest.mark.parametrize("custom_id", ["x", "x" * MAX_CUSTOM_ID, "with blanks", "日本-🌱", "'quoted\\"])
def test_custom_ids_that_are_accepted(custom_id: str) -> None:
    assert parse(line(custom_id)).custom_id == custom_id


@pytest.mark.parametrize("method", ["GET", "post", None, 1, {"a": "b"}])
def test_other_methods_are_refused(method: Any) -> None:
    fault = refusal({**line(), "method": method})
    assert "'method' must be \"POST\"" in fault.message
    assert fault.param == "method"


@pytest.mark.parametrize("url", ["/v1/embeddings", "/v1/chat/completions/", "https://x/v1/chat/completions", None, 3])
def test_urls_of_other_endpoints_are_refused(url: Any) -> None:
    fault = refusal({**line(), "url": url})
    assert f"this batch is for {ENDPOINT}: give every line that url" in fault.message
    assert (fault.param, fault.code) == ("url", "mismatched_url")


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_a_body_that_is_no_object(body: Any) -> None:
    fault = refusal({**line(), "body": body})
    assert "'body' must be a JSON object" in fault.message
    assert fault.param == "body"


@pytest.mark.parametrize("model", [None, "", 1, ["m"]])
def test_a_missing_model_is_asked_for(model: Any) -> None:
    fault = refusal({**line(), "body": {**line()["body"], "model": model}})
    assert f"name the model, such as {MODEL}" in fault.message
    assert (fault.param, fault.code) == ("model", "model_not_found")


def test_another_model_than_the_batch_s_is_refused_with_a_remedy() -> None:
    other = line() | {"body": {**line()["body"], "model": "gpt-4o"}}
    fault = refusal(other, known_models=frozenset({"gpt-4o"}))
    assert f'the model is "gpt-4o" but this batch runs on "{MODEL}"' in fault.message
    assert "give each its own file" in fault.message
    assert (fault.param, fault.code) == ("model", "mismatched_model")


def test_a_model_that_nobody_serves_is_said_to_be_none() -> None:
    fault = refusal(line() | {"body": {**line()["body"], "model": "gpt-4o"}}, known_models=frozenset({MODEL}))
    assert f'no worker serves the model "gpt-4o", and this batch runs on "{MODEL}"' in fault.message
    assert (fault.param, fault.code) == ("model", "model_not_found")


@pytest.mark.parametrize("custom_id", [None, "", "a\0", "a\nb", 7, "x" * (MAX_CUSTOM_ID + 1)])
def test_a_fault_names_the_custom_id_where_there_is_one(custom_id: Any) -> None:
    assert refusal(line("mine") | {"method": "GET"}).custom_id == "mine"
    assert refusal(line("mine") | {"custom_id": custom_id}).custom_id is None


@pytest.mark.parametrize("model", ["two\nlines", "\0", "m" * 257])
def test_a_name_that_no_model_can_have_is_refused(model: str) -> None:
    fault = refusal(line() | {"body": {**line()["body"], "model": model}}, model=None)
    assert "'body.model' must be a name of at most 256 printable characters" in fault.message


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        (json.dumps(line()).encode(), MODEL),
        (b"\xef\xbb\xbf" + json.dumps(line()).encode(), MODEL),
        (b"{", None), (b"[]", None), (b"{}", None), (b'{"body": 1}', None), (b'{"body": {"model": 1}}', None),
        (b'{"body": {"model": ""}}', None), (b"\xff", None), (b"[" * 5000, None),
    ],
)  # fmt: skip
def test_the_model_that_a_line_names(raw: bytes, model: str | None) -> None:
    assert named_model(raw) == model


def test_a_remote_engine_decides_itself_which_models_it_knows() -> None:
    entry = {**line(), "body": {**line()["body"], "model": "gpt-4o"}}
    assert parse(entry, model=None).body["model"] == "gpt-4o"
    entry["body"]["model"] = ""
    assert "'body.model' is missing: name the model." in refusal(entry, model=None).message


def test_streams_are_refused() -> None:
    fault = refusal(line(stream=True))
    assert "'stream' cannot be used in a batch: remove it" in fault.message
    assert fault.param == "body.stream"
    assert parse(line(stream=False)).custom_id == "request-1"


@pytest.mark.parametrize("messages", [None, [], {}, "hello", ["hello"], [{"role": "user", "content": "x"}, None]])
def test_messages_that_are_refused(messages: Any) -> None:
    fault = refusal(line(messages=messages))
    assert "'body.messages' must be a list of at least one message" in fault.message
    assert fault.param == "body.messages"


def test_a_line_cannot_keep_out_of_rounds_by_itself() -> None:
    fault = refusal(line(metadata={"sprout_evaluation": "off"}))
    assert "holds for a whole batch" in fault.message
    assert fault.param == "body.metadata.sprout_evaluation"


@pytest.mark.parametrize("metadata", ["text", ["a"], {"a": 1}, {"a": None}, 5])
def test_metadata_of_a_line_must_be_texts(metadata: Any) -> None:
    fault = refusal(line(metadata=metadata))
    assert "'body.metadata' must be an object of texts" in fault.message
    assert fault.param == "body.metadata"


def test_a_line_may_declare_its_workload_and_level() -> None:
    found = parse(line(metadata={"sprout_workload": "news-summaries", "sprout_level": "L2", "mine": "x"}))
    assert (found.workload, found.pinned_level) == ("news-summaries", 2)


def test_a_line_goes_before_its_batch() -> None:
    batch = batch_controls({"sprout_workload": "news", "sprout_level": "L1"}, DEFAULTS)
    assert (batch.workload, batch.pinned_level, batch.level_stated) == ("news", 1, True)

    def levels(**metadata: str) -> tuple[str, int | None]:
        found = parse_line(json.dumps(line(metadata=metadata)).encode(), line=1, defaults=batch)
        return found.workload, found.pinned_level

    assert levels() == ("news", 1)
    assert levels(sprout_level="0") == ("news", 0)
    assert levels(sprout_level="auto") == ("news", None)
    assert levels(sprout_workload="code") == ("code", 1)


def test_batch_controls_keep_everything_else() -> None:
    special = replace(DEFAULTS, max_line_bytes=123, model=None, levels=2)
    assert batch_controls({}, special) == special
    assert batch_controls({"unrelated": "x"}, special) == special
    changed = batch_controls({"sprout_workload": "news"}, special)
    assert changed == replace(special, workload="news")


@pytest.mark.parametrize("level", ["L3", "3", "-1", "", "brief", "L1.0", "²", "٢", "9" * 5000, "\0", "x" * 5000])
def test_levels_that_do_not_exist_are_refused(level: str) -> None:
    fault = refusal(line(metadata={"sprout_level": level}))
    assert "is not a level: use auto or one of L0, L1, L2" in fault.message
    assert fault.param == "body.metadata.sprout_level"
    with pytest.raises(InvalidInput) as raised:
        batch_controls({"sprout_level": level}, DEFAULTS)
    assert raised.value.param == "metadata.sprout_level"


@pytest.mark.parametrize("workload", ["", "with blanks", "-x", "x" * 65, "ä", "a/b", "a\n", "\0"])
def test_workload_names_that_are_refused(workload: str) -> None:
    fault = refusal(line(metadata={"sprout_workload": workload}))
    assert "is not a workload name: use 1 to 64 letters, digits" in fault.message
    assert fault.param == "body.metadata.sprout_workload"


@pytest.mark.parametrize(
    "parameters",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": SCHEMA},
        {"tools": [TOOL]},
        {"functions": [TOOL["function"]]},
        {"structured_outputs": {"regex": "a|b"}},
    ],
)
def test_an_exact_form_pins_l0_unless_the_user_states_a_level(parameters: dict[str, Any]) -> None:
    assert parse(line(**parameters)).pinned_level == 0
    assert parse(line(**parameters, metadata={"sprout_workload": "code"})).pinned_level == 0
    assert parse(line(**parameters, metadata={"sprout_level": "L1"})).pinned_level == 1
    assert parse(line(**parameters, metadata={"sprout_level": "auto"})).pinned_level is None
    assert parse(line(**parameters), pinned_level=2, level_stated=True).pinned_level == 2
    assert parse(line(**parameters), level_stated=True).pinned_level is None


@pytest.mark.parametrize(
    "parameters", [{"response_format": {"type": "text"}}, {"response_format": None}, {"tools": []}]
)
def test_plain_text_is_drawn(parameters: dict[str, Any]) -> None:
    assert parse(line(**parameters)).pinned_level is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def change_one(draw: Callable[..., Any]) -> dict[str, Any]:
    entry = line(metadata={"sprout_level": "L1"})
    target = draw(st.sampled_from([entry, entry["body"], entry["body"]["messages"][0], entry["body"]["metadata"]]))
    target[draw(st.sampled_from([*target, "other"]))] = draw(JSON)
    return entry


@given(st.composite(change_one)())
def test_whatever_is_accepted_can_be_stored_and_whatever_is_not_is_refused_for_that_line(entry: dict[str, Any]) -> None:
    try:
        found = parse(entry)
    except InvalidRequestLine:
        refusal(entry)
    else:
        json.dumps(found.body, ensure_ascii=False, allow_nan=False).encode()
        assert found.pinned_level in (None, 0, 1, 2)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_a_refusal(raw: bytes) -> None:
    with pytest.raises(InvalidRequestLine):
        parse(raw)

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequestLine
from app.domain.request import MAX_DEPTH, Request, RequestDefaults, parse_line
from app.services.input_file import InputFile, read_line
from tests.support.factories import ENDPOINT, MODEL, line
from tests.support.tokenizer import WordTokenizer

DEFAULTS = RequestDefaults(endpoint=ENDPOINT, model=MODEL, levels=3, max_line_bytes=5000)


def outcome(read: Callable[..., Request], raw: bytes) -> Request | tuple[str, str | None, str | None]:
    """The request, or what is said against it."""
    try:
        return replace(read(raw, line=7, defaults=DEFAULTS), body_json=None)
    except InvalidRequestLine as exc:
        return exc.message, exc.param, exc.code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def lines(draw: Callable[..., Any]) -> bytes:
    """A good line in which a value, the spelling or a few bytes are others."""
    entry = line(text=draw(st.text(st.characters(), max_size=20)), metadata={"sprout_level": "L1"})
    target = draw(st.sampled_from([entry, entry["body"], entry["body"]["messages"][0], entry["body"]["metadata"]]))
    if draw(st.booleans()):
        target[draw(st.sampled_from([*target, "other"]))] = draw(JSON)
    raw = json.dumps(entry, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))).replace("\n", "")
    content = bytearray(raw.encode(errors="surrogatepass"))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(content)))
        new = draw(
            st.sampled_from([b'\\"', b"\\u", b"\xed\xa0\xbc", b"\0", b"\t", b"1e999", b"{", b"]", b",", b"", b"\xff"])
        )
        content[start : start + draw(st.integers(0, 3))] = new
    return bytes(content).strip()


@given(lines())
def test_the_quick_reading_takes_and_refuses_what_the_thorough_one_does(raw: bytes) -> None:
    assert outcome(read_line, raw) == outcome(parse_line, raw)


def with_literal(literal: str) -> bytes:
    return json.dumps(line(extra="HERE")).replace('"HERE"', literal).encode()


ODD = [
    *map(
        with_literal,
        [
            "NaN",
            "-Infinity",
            "1e999",
            "-1e999",
            "1.7976931348623159e308",
            "9" * 400,
            "9" * 4400,
            "01",
            "1.",
            "+1",
            ".5",
            "-0.0",
            "18446744073709551616",
            '"\\ud83c"',
            '"\\udf31\\ud83c"',
            '"\\ud83c\\udf31"',
            '{"\\ud83c": 1}',
            '"\\u0000"',
            '"\\x"',
            '"\t"',
            '{"a": 1, "a": 2}',
            "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2),
            "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1),
            "[" * 2400 + "]" * 2400,
            '"' + "[{" * 100 + '"',
            "[1,]",
            "'a'",
            "tru",
        ],
    ),
    b"\xef\xbb\xbf" + json.dumps(line()).encode(),
    json.dumps(line()).encode() + b" {}",
    b'{"custom_id": "first", ' + json.dumps(line("last")).encode()[1:],
    json.dumps({**line(), "comment": "x"}).encode(),
    json.dumps({**line(), "comment": "HERE"}).encode().replace(b"HERE", b"\xff"),
    json.dumps({**line(), "comment": "HERE"}).replace('"HERE"', "NaN").encode(),
    json.dumps({**line(), "comment": "\ud800"}).encode(),
    b"",
    b"[]",
    b"null",
    b"{",
    json.dumps(line(text="x" * 6000)).encode(),
]


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_odd_lines_are_read_alike(raw: bytes) -> None:
    assert outcome(read_line, raw) == outcome(parse_line, raw)


@given(lines())
def test_the_text_that_is_kept_is_that_of_the_body(raw: bytes) -> None:
    try:
        found = read_line(raw, line=7, defaults=DEFAULTS)
    except InvalidRequestLine:
        return
    if found.body_json is not None:
        assert found.body_json in raw
        assert json.loads(found.body_json) == found.body


def test_a_usual_line_is_kept_as_it_came() -> None:
    raw = json.dumps(line(text="Grüße"), indent=1).encode()
    start = raw.index(b'"body": ') + len(b'"body": ')
    assert read_line(raw, line=1, defaults=DEFAULTS).body_json == raw[start:-1].rstrip()


def input_file(*entries: bytes, tokenizer: WordTokenizer | None = None) -> InputFile:
    return InputFile(io.BytesIO(b"\n".join(entries)), DEFAULTS, tokenizer, max_context=None, max_requests=5000)


def test_custom_ids_that_come_again_are_told_however_far_apart() -> None:
    source = input_file(*(json.dumps(line(f"r{number % 3000}")).encode() for number in range(3003)))
    source.find_repeated()
    for _ in range(2):
        found = list(source.rejections())
        assert [(each.code, each.line) for each in found] == [("duplicate_custom_id", 3001 + n) for n in range(3)]
        assert "'r1' is already used in line 2" in found[1].message
        assert found[1].custom_id == "r1"
        assert [request.line for request in source.requests()] == list(range(1, 3001))
        assert source.rejected == 3


def test_a_line_that_is_faulty_otherwise_does_not_use_its_custom_id() -> None:
    bad, good = json.dumps({**line("a"), "method": "GET"}).encode(), json.dumps(line("a")).encode()
    source = input_file(bad, good)
    source.find_repeated()
    assert [(each.line, each.custom_id) for each in source.rejections()] == [(1, "a")]
    assert [request.line for request in source.requests()] == [2]


@given(st.lists(st.sampled_from("abcdé☀") | st.none(), max_size=30))
def test_of_the_lines_with_one_custom_id_the_first_good_one_is_taken(names: list[str | None]) -> None:
    source = input_file(*(b"{" if name is None else json.dumps(line(name)).encode() for name in names))
    source.find_repeated()
    good = [request.line for request in source.requests()]
    assert good == [n for n, name in enumerate(names, 1) if name is not None and name not in names[: n - 1]]
    told = {each.line: each.message for each in source.rejections() if each.code == "duplicate_custom_id"}
    for number, message in told.items():
        assert f"is already used in line {names.index(names[number - 1]) + 1}:" in message
    assert len(good) + len(told) + names.count(None) == len(names)


def test_a_file_without_faults_can_be_read_again() -> None:
    source = input_file(json.dumps(line("a")).encode(), b"", json.dumps(line("b")).encode())
    assert list(source.rejections()) == []
    for _ in range(2):
        assert [(request.line, request.custom_id) for request in source.requests()] == [(1, "a"), (3, "b")]


class CountingTokenizer(WordTokenizer):
    """Remembers what was counted exactly."""

    def __init__(self) -> None:
        super().__init__(context_tokens=100)
        self.counted = 0

    def count_messages(self, messages: Any) -> int:
        self.counted += 1
        return super().count_messages(messages)


def test_only_prompts_that_could_be_too_long_are_counted() -> None:
    tokenizer = CountingTokenizer()
    source = input_file(json.dumps(line("short", text="word " * 10)).encode(), tokenizer=tokenizer)
    assert len(list(source.requests())) == 1
    assert tokenizer.counted == 0
    source = input_file(json.dumps(line("longer", text="word " * 90)).encode(), tokenizer=tokenizer)
    assert len(list(source.requests())) == 1
    assert tokenizer.counted == 1
    source = input_file(json.dumps(line("long", text="word " * 100)).encode(), tokenizer=tokenizer)
    assert list(source.requests()) == []
    (found,) = source.rejections()
    assert "103 tokens" in found.message
    assert (found.code, found.custom_id) == ("context_length_exceeded", "long")

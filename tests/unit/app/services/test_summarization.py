from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.services.summarization import (
    PART_TOKENS_MIN,
    PROMPT,
    SUMMARY_TOKENS,
    Document,
    Summary,
    body,
    read_documents,
    split,
)
from tests.support.tokenizer import WordTokenizer

words = WordTokenizer().count


def letters(text: str) -> int:
    """A tokenizer for which every character is a token, white space included."""
    return len(text)


def uneven(text: str) -> int:
    """Eight plain letters make a token, any other character makes four: byte fallback."""
    plain = sum(character.isascii() for character in text)
    return -(-plain // 8) + 4 * (len(text) - plain)


def without_space(text: str) -> str:
    return re.sub(r"\s+", "", text)


paragraphs = st.lists(
    st.lists(st.text("ab.!?。 \n", max_size=30) | st.just("word" * 20), max_size=6).map(" ".join), max_size=8
)
prose = paragraphs.flatmap(lambda parts: st.sampled_from(["\n\n", "\n", "\n \t\n", " "]).map(lambda by: by.join(parts)))


@settings(deadline=None)
@given(text=prose | st.text(max_size=200), limit=st.integers(4, 60), count=st.sampled_from([words, letters, uneven]))
def test_no_text_is_lost_and_its_order_is_kept(text: str, limit: int, count: object) -> None:
    parts = split(text, limit=limit, count=count)  # type: ignore[arg-type]
    assert without_space("".join(parts)) == without_space(text)
    assert all(parts)


@settings(deadline=None)
@given(text=prose | st.text("aé", max_size=300), limit=st.integers(6, 60), count=st.sampled_from([letters, uneven]))
def test_every_part_is_within_the_limit(text: str, limit: int, count: object) -> None:
    for part in split(text, limit=limit, count=count):  # type: ignore[arg-type]
        assert count(part) <= limit  # type: ignore[operator]


@given(text=prose, limit=st.integers(4, 60))
def test_words_stay_whole_where_they_fit(text: str, limit: int) -> None:
    parts = split(text, limit=limit, count=words)
    assert [word for part in parts for word in part.split()] == text.split()
    assert all(words(part) <= limit for part in parts)


def test_a_short_text_is_one_part() -> None:
    assert split("  One.\n\nTwo.\n", limit=20, count=words) == ["One.\n\nTwo."]


@pytest.mark.parametrize("text", ["", " ", "\n\n\n"])
def test_no_text_has_no_parts(text: str) -> None:
    assert list(split(text, limit=20, count=words)) == []


def paragraph(name: str, length: int) -> str:
    return " ".join([name] * length)


def test_paragraphs_stay_whole() -> None:
    text = "\n\n".join(paragraph(name, 5) for name in "abcdef")
    assert split(text, limit=16, count=words) == [
        f"{paragraph('a', 5)}\n\n{paragraph('b', 5)}",
        f"{paragraph('c', 5)}\n\n{paragraph('d', 5)}",
        f"{paragraph('e', 5)}\n\n{paragraph('f', 5)}",
    ]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    text = " ".join(f"{name} {name} {name}." for name in "abcd") + "\n\n" + paragraph("e", 4)
    assert split(text, limit=12, count=words) == ["a a a. b b b.", "c c c. d d d.", "e e e e"]


def test_a_long_sentence_is_cut_between_words() -> None:
    parts = split(paragraph("word", 100), limit=10, count=words)
    assert all(set(part.split()) == {"word"} for part in parts)
    assert sum(len(part.split()) for part in parts) == 100


def test_a_very_long_word_is_cut_anywhere() -> None:
    word = "x" * 10_000
    parts = split(f"before {word} after", limit=100, count=letters)
    assert all(len(part) <= 100 for part in parts)
    assert without_space("".join(parts)) == f"before{word}after"


def test_a_word_of_uneven_letters_is_cut_where_it_must_be() -> None:
    word = "a" * 10_000 + "é" * 300
    parts = split(word, limit=640, count=uneven)
    assert "".join(parts) == word
    assert max(map(uneven, parts)) <= 640


def summarize(document: Document, answer: str, *, limit: int = PART_TOKENS_MIN) -> tuple[Summary, list[int]]:
    """Run all rounds with the same answer to every request; the number of requests in each."""
    summary, rounds, seen = Summary(document, limit=limit, tokenizer=WordTokenizer()), [], set()
    while summary.text is None:
        requests = list(summary.requests())
        assert requests == list(summary.requests()), "a round asks for something else the second time"
        assert not seen & {custom_id for custom_id, _ in requests}
        seen |= {custom_id for custom_id, _ in requests}
        rounds.append(len(requests))
        assert len(rounds) < 30
        summary.advance([answer] * len(requests))
    return summary, rounds


def test_one_part_takes_one_round() -> None:
    summary, rounds = summarize(Document(name="a", text="Hello."), " A summary. \n")
    assert (summary.text, summary.parts, rounds) == ("A summary.", 1, [1])


@pytest.mark.parametrize("length", [1_000, 30_000, 80_000])
def test_every_round_has_fewer_parts_until_one_is_left(length: int) -> None:
    longest = paragraph("answer", SUMMARY_TOKENS)
    summary, rounds = summarize(Document(name="a", text=paragraph("word", length)), longest)
    assert rounds == sorted(rounds, reverse=True)
    assert len(set(rounds)) == len(rounds)
    assert rounds[-1] == 1
    assert summary.parts == rounds[0] >= length / PART_TOKENS_MIN
    assert summary.text == longest


@pytest.mark.parametrize("length", [10, 3000])
def test_a_model_that_says_nothing_ends_the_rounds(length: int) -> None:
    summary, rounds = summarize(Document(name="a", text=paragraph("word", length)), " ")
    assert summary.text == ""
    assert len(rounds) == 1


def test_the_parts_stand_in_the_prompts_in_order() -> None:
    text = "\n\n".join(paragraph(f"w{number}", 500) for number in range(4))
    summary = Summary(Document(name="a", text=text), limit=PART_TOKENS_MIN, tokenizer=WordTokenizer())
    prompts = [prompt for _, prompt in summary.requests()]
    assert prompts == [PROMPT.format(text=part) for part in text.split("\n\n")]
    summary.advance(["one", "two", "three", "four"])
    ((custom_id, prompt),) = summary.requests()
    assert prompt.find("one\n\ntwo\n\nthree\n\nfour") > 0
    assert "consecutive parts of one document" in prompt
    assert len(custom_id) <= 64


def test_ids_follow_from_name_and_text() -> None:
    def ids(name: str, text: str) -> Sequence[str]:
        summary = Summary(Document(name=name, text=text), limit=PART_TOKENS_MIN, tokenizer=WordTokenizer())
        return [custom_id for custom_id, _ in summary.requests()]

    assert ids("a", "x") == ids("a", "x")
    assert len({*ids("a", "x"), *ids("b", "x"), *ids("a", "y")}) == 3


def test_braces_in_a_text_are_just_text() -> None:
    summary = Summary(Document(name="a", text="{text} {0} {}"), limit=PART_TOKENS_MIN, tokenizer=WordTokenizer())
    assert "{text} {0} {}" in next(iter(summary.requests()))[1]


def test_the_body_of_a_request() -> None:
    assert body("m", "Say it.") == {
        "model": "m",
        "messages": [{"role": "user", "content": "Say it."}],
        "max_tokens": SUMMARY_TOKENS,
        "temperature": 0,
    }


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_documents_of_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, "folder/b.MD", "second")
    write(tmp_path, "folder/a.txt", "first")
    write(tmp_path, "folder/deep/c.markdown", "third")
    write(tmp_path, "folder/picture.png", b"\xff")
    single = write(tmp_path, "z.text", "\ufeffalone")
    found = read_documents([single, tmp_path / "folder"])
    assert [document.text for document in found] == ["alone", "first", "second", "third"]
    assert found[0].name == str(single)


def test_documents_of_a_jsonl_file(tmp_path: Path) -> None:
    lines = [{"id": "x", "text": "one"}, {"text": "two\u2028"}, {"id": 7, "text": "three", "more": 1}]
    content = "\ufeff" + "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path = write(tmp_path, "in.jsonl", content)
    found = read_documents([path])
    assert [(document.name, document.text) for document in found] == [
        (f"{path}#x", "one"),
        (f"{path}#3", "two\u2028"),
        (f"{path}#7", "three"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "", "is empty: leave it out"),
        ("a.txt", " \n", "is empty: leave it out"),
        ("a.txt", b"\xff\xfe", "cannot be read as UTF-8 text"),
        ("a.pdf", "x", "is not a text: convert it to one of"),
        ("a.jsonl", "", "There are no documents"),
        ("a.jsonl", "\n{", 'line 2: write an object with "id" and "text"'),
        ("a.jsonl", "[]", 'line 1: write an object with "id" and "text"'),
        ("a.jsonl", '"text"', 'line 1: write an object with "id" and "text"'),
        ("a.jsonl", '{"id": 1}', 'line 1: write an object with "id" and "text"'),
        ("a.jsonl", '{"text": 1}', 'line 1: "text" must be a text'),
        ("a.jsonl", '{"text": "\\ud800"}', "line 1: "),
        ("a.jsonl", '{"text": ""}', "#1 is empty"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n{"id": 1, "text": "y"}', "#1 is given twice"),
    ],
)
def test_what_cannot_be_summarized(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InvalidInput) as refusal:
        read_documents([path])
    assert sentence in refusal.value.message
    assert name in refusal.value.message or "no documents" in sentence


def test_nothing_to_summarize(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no file or folder"):
        read_documents([tmp_path / "none.txt"])
    for paths in ([], [tmp_path]):
        with pytest.raises(InvalidInput, match="There are no documents"):
            read_documents(paths)


def test_a_document_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "x")
    with pytest.raises(InvalidInput, match="is given twice"):
        read_documents([path, tmp_path])

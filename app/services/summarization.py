"""Summarising documents of any length: split at paragraph borders, summarise the parts, merge the summaries."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidInput
from app.ports import Tokenizer

TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".text"})
JSONL_SUFFIX = ".jsonl"
WORKLOAD = "summarize"
SUMMARY_TOKENS = 128
"""Longest summary, of a part or of a whole document."""
PART_TOKENS_MIN = 4 * SUMMARY_TOKENS
# The question stands behind the text: small models forget one that stands before it.
PROMPT = 'Text:\n"""\n{text}\n"""\n\nWhat is this text about? Answer in one paragraph.'
MERGE_PROMPT = (
    'Summaries of consecutive parts of one document:\n"""\n{text}\n"""\n\n'
    "What is the whole document about? Answer in one paragraph."
)


@dataclass(frozen=True, kw_only=True)
class Document:
    name: str
    """Path as given, with `#id` for one of several in a JSONL file."""
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal: a changed document is summarised anew."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_documents(paths: Sequence[Path], *, leave_out: Path | None = None) -> Sequence[Document]:
    """The documents of files and folders, in the order given; a folder's in the order of their paths.

    `leave_out` is no document where it lies in a folder: the file in which an earlier run left its summaries.

    Raises:
        InvalidInput: a file that is not text, Markdown or JSONL, is not UTF-8 or is empty; a name that occurs twice.
    """
    documents = [document for path in paths for file in _files(path, leave_out) for document in _read(file)]
    names: set[str] = set()
    for document in documents:
        if document.name in names:
            raise InvalidInput(f"The document {document.name} is given twice: name each once.")
        names.add(document.name)
        if not document.text.strip():
            raise InvalidInput(f"The document {document.name} is empty: leave it out.")
    if not documents:
        raise InvalidInput("There are no documents: name .txt, .md or .jsonl files, or folders that hold some.")
    return documents


def _files(path: Path, leave_out: Path | None) -> Sequence[Path]:
    known = TEXT_SUFFIXES | {JSONL_SUFFIX}
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in known)
        return [file for file in found if leave_out is None or file.resolve() != leave_out.resolve()]
    if not path.is_file():
        raise InvalidInput(f"There is no file or folder {path}.")
    if path.suffix.lower() not in known:
        raise InvalidInput(f"{path} is not a text: convert it to one of {', '.join(sorted(known))}.")
    return [path]


def _read(path: Path) -> Iterator[Document]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {exc}.") from exc
    if path.suffix.lower() != JSONL_SUFFIX:
        yield Document(name=str(path), text=text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, body = entry.get("id", number), entry["text"]
            f"{name}{body}".encode()  # JSON can say half of a surrogate pair
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            raise InvalidInput(
                f'{path}, line {number}: write an object with "id" and "text", in valid Unicode, on each line.'
            ) from exc
        if not isinstance(body, str):
            raise InvalidInput(f'{path}, line {number}: "text" must be a text.')
        yield Document(name=f"{path}#{name}", text=body)


def split(text: str, *, limit: int, count: Callable[[str], int]) -> Sequence[str]:
    """`text` in parts of at most `limit` tokens, cut at paragraph borders; only a paragraph that is longer by itself is
    cut at sentences, then at words, then anywhere."""
    return _pack(re.split(r"\n\s*\n", text.strip()), "\n\n", limit, count, finer=_SENTENCES)


_SENTENCES, _WORDS, _CHARACTERS = "sentences", "words", "characters"


def _pack(pieces: Sequence[str], joint: str, limit: int, count: Callable[[str], int], *, finer: str) -> list[str]:
    parts: list[str] = []
    current, size = "", 0
    for piece in pieces:
        tokens = count(piece) + 2  # a joint may cost up to two tokens
        if tokens > limit:
            if current:
                parts.append(current)
            *whole, current = _cut(piece, limit, count, finer)
            parts += whole
            size = count(current) + 2
        elif current and size + tokens > limit:
            parts.append(current)
            current, size = piece, tokens
        else:
            current = f"{current}{joint}{piece}" if current else piece
            size += tokens
    return [*parts, current] if current else parts


def _cut(piece: str, limit: int, count: Callable[[str], int], how: str) -> list[str]:
    if how == _SENTENCES:
        return _pack(re.split(r"(?<=[.!?。！？])\s+|\n", piece), " ", limit, count, finer=_WORDS)  # noqa: RUF001
    if how == _WORDS:
        return _pack(piece.split(), " ", limit, count, finer=_CHARACTERS)
    if len(piece) == 1 or count(piece) + 2 <= limit:
        return [piece]
    middle = len(piece) // 2
    return [*_cut(piece[:middle], limit, count, how), *_cut(piece[middle:], limit, count, how)]


class Summary:
    """One document on its way to a summary, round by round: the parts, then their summaries packed into fewer, and
    so on until one is left."""

    def __init__(self, document: Document, *, limit: int, tokenizer: Tokenizer) -> None:
        """`limit`: tokens of a part, at least PART_TOKENS_MIN so that every round has fewer parts than the last."""
        self.document = document
        self.text: str | None = None
        """The summary, when there is one."""
        self._pieces = split(document.text, limit=limit, count=tokenizer.count)
        self.parts = len(self._pieces)
        self._round = 0
        self._limit = limit
        self._count = tokenizer.count

    def requests(self) -> Iterator[tuple[str, str]]:
        """A custom_id and a prompt for each piece of this round; the same document gives the same ids."""
        prompt = PROMPT if self._round == 0 else MERGE_PROMPT
        name = hashlib.sha256(self.document.name.encode()).hexdigest()[:12]
        for index, piece in enumerate(self._pieces):
            yield f"{name}-{self.document.digest[:12]}-{self._round}-{index}", prompt.format(text=piece)

    def advance(self, answers: Sequence[str]) -> None:
        """Take the answers to this round's requests, in their order."""
        self._round += 1
        merged = "\n\n".join(answers).strip()
        if len(answers) == 1 or not merged:
            self.text = merged
        else:
            self._pieces = split(merged, limit=self._limit, count=self._count)


def body(model: str, prompt: str) -> dict[str, Any]:
    """The chat request for one prompt."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": SUMMARY_TOKENS,
        "temperature": 0,
    }

"""Reading and naming prompts one by one and step by step: slow, and plain enough to check the fast way by."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import islice

import numpy as np

from app.discovery.embedding import FARTHEST, STRUCTURE_WEIGHT, Embedding
from app.discovery.model import ClassModel
from app.discovery.text import MAX_CHARACTERS, MAX_TOKENS
from app.domain.arrays import Floats
from app.domain.workload import discovered_name, stratum_name

_TOKEN = re.compile(r"[^\W\d_]+|\d+|\n+|[^\w\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSPACED = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])")
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•]|\(?\w{1,2}[.):])", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?؟](?:\s|$)|[。！？]")  # noqa: RUF001
_QUESTION_MARKS = ("?", "？", "؟")  # noqa: RUF001


def plain_terms(prompt: str) -> list[str]:
    spaced = _UNSPACED.sub(r" \1 ", prompt[:MAX_CHARACTERS].lower())
    tokens = [_normal(token[0]) for token in islice(_TOKEN.finditer(spaced), MAX_TOKENS)]
    return tokens + [f"{left} {right}" for left, right in zip(["<", *tokens], [*tokens, ">"], strict=True)]


def _normal(token: str) -> str:
    if token[0] == "\n":
        return "\n"
    return "0" if token[0].isdecimal() else token


def plain_structure(prompt: str) -> list[float]:
    text = prompt[:MAX_CHARACTERS]
    size = max(len(text), 1)
    return [
        math.log(max(len(prompt), 1)),
        math.log1p(text.count("\n")),
        math.log1p(len(re.findall(r"\d+", text))),
        sum(map(str.isupper, text)) / size * 10,
        math.log1p(len(_SENTENCE_END.findall(text))),
        float(any(mark in text for mark in _QUESTION_MARKS)),
        float(prompt.rstrip().endswith(_QUESTION_MARKS)),
        float(len(_LIST_MARK.findall(text)) > 1),
        len(re.findall(r"[^\w\s]", text)) / size * 10,
    ]


def plain_point(embedding: Embedding, prompt: str) -> Floats:
    number = {term: index for index, term in enumerate(embedding.vocabulary)}
    counts = Counter(number[term] for term in plain_terms(prompt) if term in number)
    words = np.zeros(embedding.projection.shape[1])
    for term, count in counts.items():
        words += (1 + math.log(count)) * embedding.projection[term].astype(float)
    form = (np.array(plain_structure(prompt)) - embedding.centre) / embedding.scale
    form = np.clip(form, -FARTHEST, FARTHEST) * STRUCTURE_WEIGHT
    return np.concatenate([words / max(float(np.linalg.norm(words)), 1e-12), form])


def plain_name(model: ClassModel, prompt: str) -> str:
    point = plain_point(model.embedding, prompt)
    fine = int(np.square(model.centroids - point).sum(axis=1).argmin())
    workload = discovered_name(model.numbers[fine])
    if workload not in model.strata.workloads:
        return workload
    index = model.strata.workloads.index(workload)
    score = point @ model.strata.coefficients[index] + model.strata.intercepts[index]
    return stratum_name(workload, 1 + int((model.strata.cuts[index] <= score).sum()))

"""What is kept of a tenant's texts, by kind: each has its own time to stay."""

from __future__ import annotations

from enum import StrEnum


class Kept(StrEnum):
    """A kind of text. Figures (energy, grams, tokens) are none: they stay when the texts go."""

    PROMPTS = "prompts"
    """The bodies of the requests of a batch that has ended."""
    ANSWERS = "answers"
    """And of the responses to them."""
    SAMPLES = "samples"
    """Prompts and answers in rounds of evaluation that are over, and what people vote on."""
    VERDICTS = "verdicts"
    """Judges' raw replies; the verdicts themselves stay."""
    CACHE = "cache"
    """What says that an answer may be given again."""
    FILES = "files"
    """Input, output and error files that no open batch needs."""

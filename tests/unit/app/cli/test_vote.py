from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from app.cli.vote import vote
from app.domain.errors import InvalidInput, ServiceUnavailable
from tests.support.web import Answer, Asked, as_json, serving

pytestmark = pytest.mark.usefixtures("own_environment")


def pair(number: int, **texts: str) -> dict[str, Any]:
    return {
        "id": f"pair_{number}", "prompt": f"prompt {number}", "first": f"this {number}", "second": f"that {number}",
        **texts,
    }  # fmt: skip


class Booth:
    """The API's side of voting: offers pairs in turn."""

    def __init__(self, pairs: Sequence[dict[str, Any]]) -> None:
        self.left = list(pairs)
        self.voters: set[str] = set()
        self.votes: list[tuple[str, str]] = []

    def __call__(self, request: Asked) -> Answer:
        url = urlsplit(request.path)
        if request.method == "GET":
            assert url.path == "/sprout/v1/votes/next"
            self.voters |= set(parse_qs(url.query)["voter"])
            return as_json({"pair": self.left[0] if self.left else None})
        assert url.path == "/sprout/v1/votes"
        body = json.loads(request.body)
        if body["pair"] == "pair_gone":
            return as_json({"error": {"message": "It is gone."}}, 404)
        self.voters.add(body["voter"])
        self.votes.append((body["pair"], body["choice"]))
        self.left.pop(0)
        return as_json({})


def run(monkeypatch: pytest.MonkeyPatch, booth: Booth, keys: str, *arguments: str) -> Result:
    with serving(booth) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        return CliRunner().invoke(vote, list(arguments), input="".join(f"{key}\n" for key in keys))


def test_pairs_are_shown_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    booth = Booth([pair(1), pair(2), pair(3)])
    ended = run(monkeypatch, booth, "120", "--voter", "Ada & Bob")
    assert ended.exit_code == 0, ended.output
    assert booth.votes == [("pair_1", "first"), ("pair_2", "second"), ("pair_3", "neither")]
    assert booth.voters == {"Ada & Bob"}
    places = [ended.output.index(text) for text in ("prompt 1", "this 1", "that 1", "prompt 2", "this 2", "that 2")]
    assert places == sorted(places)
    assert ended.output.endswith("Nothing is left to vote on.\n3 votes recorded.\n")


def test_a_voter_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    booth = Booth([pair(1), pair(2)])
    ended = run(monkeypatch, booth, "1q", "--voter", "ada")
    assert ended.exit_code == 0
    assert len(booth.votes) == 1
    assert ended.output.endswith("1 vote recorded.\n")


def test_another_key_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    booth = Booth([pair(1)])
    ended = run(monkeypatch, booth, "732", "--voter", "ada")
    assert ended.exit_code == 0
    assert booth.votes == [("pair_1", "second")]


def test_the_login_name_votes_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    booth = Booth([])
    ended = run(monkeypatch, booth, "")
    assert ended.output == "Nothing is left to vote on.\n0 votes recorded.\n"
    assert booth.voters == {"grace"}


def test_without_a_login_name_one_has_to_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    ended = run(monkeypatch, Booth([]), "")
    assert ended.exit_code == 2
    assert "--voter" in ended.output


def test_texts_do_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = pair(1, prompt="\x1b]0;title\x07[bold]x[/bold]", first="a\r\nb\tc\x9b2J", second="é\u00a0:smile: 🌱")
    ended = run(monkeypatch, Booth([shown]), "q", "--voter", "ada")
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(ended.output)
    for text in ("]0;title[bold]x[/bold]", "a\nb", "é\u00a0:smile: 🌱"):
        assert text in ended.output


def test_a_refusal_ends_it_in_the_api_s_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, Booth([{**pair(1), "id": "pair_gone"}]), "1", "--voter", "ada")
    assert isinstance(ended.exception, InvalidInput)
    assert ended.exception.message == "It is gone."


def test_without_a_stack() -> None:
    ended = CliRunner().invoke(vote, ["--voter", "ada"])
    assert isinstance(ended.exception, ServiceUnavailable)

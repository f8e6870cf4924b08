from __future__ import annotations

from workers.engines.streaming import completion
from workers.engines.tally import Tally, Tokens, tokens_of


def test_only_what_is_new_is_reported() -> None:
    tally = Tally()
    tally.reach("a", Tokens(prefill=30))
    tally.reach("a", Tokens(prefill=30, decode=2))
    assert tally.drain() == {"a": Tokens(prefill=30, decode=2)}
    tally.reach("a", Tokens(prefill=30, decode=2))
    assert tally.drain() == {}
    tally.reach("a", Tokens(prefill=30, decode=9))
    assert tally.drain() == {"a": Tokens(decode=7)}


def test_a_total_that_falls_back_takes_nothing_away() -> None:
    tally = Tally()
    tally.reach("a", Tokens(prefill=30, decode=4))
    tally.reach("a", Tokens(prefill=10, decode=5))
    assert tally.drain() == {"a": Tokens(prefill=30, decode=5)}


def test_what_an_ended_request_did_is_still_reported_and_its_key_begins_anew() -> None:
    tally = Tally()
    tally.reach("a", Tokens(prefill=30, decode=4))
    tally.end("a")
    tally.end("never seen")
    tally.reach("a", Tokens(prefill=3))
    assert tally.drain() == {"a": Tokens(prefill=33, decode=4)}


def test_cached_tokens_were_not_computed() -> None:
    def computed(**details: object) -> Tokens:
        usage = {"prompt_tokens": 30, "completion_tokens": 7, **details}
        return tokens_of(completion("a", 200, {"usage": usage}))

    assert computed() == Tokens(prefill=30, decode=7)
    assert computed(prompt_tokens_details=None) == Tokens(prefill=30, decode=7)
    assert computed(prompt_tokens_details={"cached_tokens": 12}) == Tokens(prefill=18, decode=7)
    assert computed(prompt_tokens_details={"cached_tokens": 99}) == Tokens(decode=7)

"""How vLLM's record is read, on stand-ins for its entries; the engine's contract runs it on the real one."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.engines.tally import Tokens
from workers.engines.vllm_progress import VllmProgress


@dataclass
class Detokenizer:
    tokens: int = 0

    def num_output_tokens(self) -> int:
        return self.tokens


@dataclass
class State:
    request_id: str
    external_req_id: str
    prompt_len: int = 10
    num_cached_tokens: int = 0
    is_prefilling: bool = True
    detokenizer: Detokenizer | None = field(default_factory=Detokenizer)

    def generate(self, tokens: int) -> None:
        self.is_prefilling = False
        assert self.detokenizer is not None
        self.detokenizer.tokens += tokens


@dataclass
class Record:
    """vLLM's, and what was reported of it."""

    states: dict[str, State] = field(default_factory=dict)
    reached: dict[str, Tokens] = field(default_factory=dict)

    def progress(self) -> VllmProgress:
        return VllmProgress(self.states.values, self.reached.__setitem__)  # type: ignore[arg-type]

    def add(self, external: str, name: str = "only") -> State:
        state = State(f"{name}-{external}", external)
        self.states[state.request_id] = state
        return state


def test_a_prompt_counts_once_it_is_computed_and_the_answer_as_it_grows() -> None:
    record = Record()
    progress = record.progress()
    with progress.followed("a") as request_id:
        state = record.add(f"chatcmpl-{request_id}")
        progress.look()
        assert record.reached == {"a": Tokens()}
        state.num_cached_tokens = 4
        state.generate(1)
        progress.look()
        assert record.reached == {"a": Tokens(prefill=6, decode=1)}
        state.generate(5)
        progress.look()
        assert record.reached == {"a": Tokens(prefill=6, decode=6)}


def test_several_answers_are_summed_and_one_that_ended_still_counts() -> None:
    record = Record()
    progress = record.progress()
    with progress.followed("a") as request_id:
        first, second = (record.add(f"cmpl-{request_id}-0", name) for name in ("0", "1"))
        first.generate(3)
        second.generate(4)
        progress.look()
        del record.states[first.request_id]
        second.generate(1)
        progress.look()
    assert record.reached == {"a": Tokens(prefill=20, decode=8)}


def test_a_request_that_nobody_follows_any_more_is_not_reported() -> None:
    record = Record()
    progress = record.progress()
    with progress.followed("a") as request_id:
        state = record.add(f"chatcmpl-{request_id}")
    state.generate(3)
    record.add("somebody-else")
    progress.look()
    assert record.reached == {}

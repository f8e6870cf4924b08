"""People as judges: what they are shown, and what becomes of their votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import pytest

from app.domain.blind import Choice, level_at, pair_id
from app.domain.completion import Completion, EngineRequest
from app.domain.directive import PAPER_DIRECTIVES
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.services import deployment, quality_report, retention, voting
from app.services.voting import Pair
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.judge import ScriptedJudge
from tests.support.openai_server import echo
from tests.support.rounds import ended, serve, served
from tests.support.services import Desk, Desks, ScriptedMeter
from workers.engines.streaming import completion

Mind = Callable[[Pair], Choice]


def by_level(pair: Pair) -> int:
    """The level that a pair is about: the echo repeats its directive, which L0's answer lacks."""
    (found,) = [
        level
        for level, text in enumerate(PAPER_DIRECTIVES)
        if level and any(answer.endswith((text, f"{text}.")) for answer in (pair.first, pair.second))
    ]
    return found


def level_is_first(pair: Pair) -> bool:
    return "Always answer" in pair.first


def for_the_level(pair: Pair) -> Choice:
    return Choice.FIRST if level_is_first(pair) else Choice.SECOND


def against_the_level(pair: Pair) -> Choice:
    return Choice.SECOND if level_is_first(pair) else Choice.FIRST


def undecided(_: Pair) -> Choice:
    return Choice.NEITHER


@pytest.fixture
def people(desks: Desks) -> Desk:
    """An installation whose judges are people, and whose budget is as large as what it serves."""
    return desks.desk(judge="human", evaluation_budget=1.0, kept_at_l0=0.1)


def answered(desk: Desk, *, requests: int = 20, engine: EchoEngine | None = None) -> int:
    """Serve a batch and answer a round's samples at every level; how many there are."""
    engine = engine or EchoEngine()
    serve(desk, desk.worker(engine), requests=requests)
    # What it takes is not what this is about: the budget lasts for all samples.
    ended(desk, desk.worker(engine, ScriptedMeter(step_j=0.01)), [])
    (number,) = desk.rows("SELECT count(*) FROM evaluation_samples WHERE state = 'judged'")
    assert number > 0
    return int(number)


def next_pair(desk: Desk, voter: str = "ada") -> Pair | None:
    return voting.next_pair(desk.context, TENANT, voter)


def a_pair(desk: Desk, voter: str = "ada") -> Pair:
    found = next_pair(desk, voter)
    assert found is not None
    return found


def vote(desk: Desk, pair: Pair | str, choice: Choice = Choice.NEITHER, voter: str = "ada") -> None:
    voting.vote(desk.context, TENANT, voter, pair if isinstance(pair, str) else pair.id, choice)


def voted(desk: Desk, voter: str = "ada", mind: Mind = undecided, *, most: int = 10_000) -> Sequence[Pair]:
    """Vote on what is offered until nothing is left; what was offered, in order."""
    found: list[Pair] = []
    while len(found) < most and (pair := next_pair(desk, voter)):
        vote(desk, pair, mind(pair), voter)
        found.append(pair)
    return found


def test_people_are_asked_about_every_answer_that_differs(people: Desk) -> None:
    samples = answered(people)
    assert people.rows("SELECT count(*) FROM verdicts") == [0]
    pairs = voted(people)
    assert len(pairs) == 2 * samples
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert sorted(map(by_level, pairs)) == [1] * samples + [2] * samples
    for pair in pairs:
        assert pair.prompt.startswith("Tell me of the number ")
        assert sorted([pair.first == pair.prompt, pair.second == pair.prompt]) == [False, True]
    assert next_pair(people) is None


def test_asking_changes_nothing(people: Desk) -> None:
    answered(people)
    assert a_pair(people) == a_pair(people)


def test_the_place_tells_nothing(people: Desk) -> None:
    assert answered(people, requests=200) >= 50
    ada, bob = ({(p.prompt, by_level(p)): level_is_first(p) for p in voted(people, name)} for name in ("ada", "bob"))
    assert ada.keys() == bob.keys()
    # Four standard deviations of a fair coin.
    bound = 2 * len(ada) ** 0.5
    for level in (1, 2):
        places = [first for (_, of), first in ada.items() if of == level]
        assert abs(sum(places) - len(places) / 2) < 2 * len(places) ** 0.5
    assert abs(sum(ada[key] == bob[key] for key in ada) - len(ada) / 2) < bound


def test_a_pair_says_nothing_but_its_texts(people: Desk) -> None:
    answered(people)
    pair = a_pair(people)
    assert asdict(pair).keys() == {"id", "prompt", "first", "second"}
    assert len(pair.id) == 69
    for known in people.rows("SELECT DISTINCT unnest(ARRAY[batch_id, round_id, seed]) FROM evaluation_samples"):
        assert known.rpartition("_")[2] not in pair.id


def test_prompts_come_again_only_when_all_were_seen(people: Desk) -> None:
    """L0's answer is in all pairs of a prompt, and can be told by that."""
    samples = answered(people)
    seen = [pair.prompt for pair in voted(people)]
    assert len(set(seen[:samples])) == samples


def test_those_with_the_fewest_votes_come_first(people: Desk) -> None:
    samples = answered(people)
    done = {(pair.prompt, by_level(pair)) for pair in voted(people, "ada", most=samples)}
    offered = [(pair.prompt, by_level(pair)) for pair in voted(people, "bob", most=samples)]
    assert not done & set(offered)
    assert all(by_level(pair) for pair in voted(people, "cleo"))


@pytest.mark.parametrize(("mind", "rate"), [(for_the_level, 1.0), (against_the_level, 0.0), (undecided, 0.5)])
def test_votes_are_evidence(people: Desk, mind: Mind, rate: float) -> None:
    samples = answered(people)
    voted(people, "ada", mind)
    found = quality_report.report(people.context, TENANT)
    assert [(each["level"], each["kind"], each["win_rate"]) for each in found["levels"]] == [
        (1, "preference", pytest.approx(rate)),
        (2, "preference", pytest.approx(rate)),
    ]
    assert [each["verdicts"] for each in found["levels"]] == [pytest.approx(samples)] * 2
    assert [each["judge"] for each in found["judges"]] == ["human:ada"]


def test_a_vote_is_kept_with_the_place_in_which_the_level_s_answer_was(people: Desk) -> None:
    answered(people)
    places = {level_is_first(pair) for pair in voted(people, "ada", for_the_level)}
    assert places == {True, False}
    kept = people.rows("SELECT DISTINCT when_first, when_second, outcome, length > l0_length FROM verdicts ORDER BY 1")
    assert kept == [("level", None, "win", True), (None, "level", "win", True)]
    assert people.rows("SELECT DISTINCT judge, judge_model, kind, replies::text FROM verdicts") == [
        ("human", "ada", "preference", None)
    ]


def test_nobody_votes_twice_on_a_pair(people: Desk) -> None:
    answered(people)
    pair = a_pair(people)
    vote(people, pair, Choice.FIRST)
    with pytest.raises(Conflict, match="'ada' has voted on this pair already"):
        vote(people, pair, Choice.SECOND)
    assert people.rows("SELECT count(*) FROM verdicts") == [1]
    assert a_pair(people).id != pair.id


def test_a_pair_is_one_voter_s(people: Desk) -> None:
    answered(people)
    with pytest.raises(NotFound, match="No such pair was shown to 'bob'"):
        vote(people, a_pair(people, "ada"), voter="bob")
    vote(people, a_pair(people, "ada"), voter=" ada ")


@pytest.mark.parametrize("pair", ["", "pair_x", f"pair_{'0' * 64}", "\0", "\ud800"])
def test_an_unknown_pair(people: Desk, pair: str) -> None:
    answered(people)
    with pytest.raises(NotFound, match="No such pair"):
        vote(people, pair)


def test_a_pair_cannot_be_made_up_without_its_seed(people: Desk) -> None:
    answered(people)
    ticket, seed = people.rows("SELECT ticket, seed FROM evaluation_samples")[0]
    with pytest.raises(NotFound):
        vote(people, pair_id(ticket, "0" * 32, "ada", 1))
    with pytest.raises(NotFound):
        vote(people, pair_id(ticket, seed, "ada", 3))
    vote(people, pair_id(ticket, seed, "ada", 1), Choice.FIRST)
    (found,) = people.rows("SELECT outcome FROM verdicts")
    assert found == ("win" if level_at(seed, "ada", 1) == 0 else "loss")


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb"])
def test_a_voter_has_a_name(people: Desk, name: str) -> None:
    answered(people)
    with pytest.raises(InvalidInput, match="`voter`"):
        next_pair(people, name)
    with pytest.raises(InvalidInput, match="`voter`"):
        vote(people, a_pair(people), voter=name)


def test_what_is_past_its_retention_is_gone(people: Desk) -> None:
    answered(people)
    pair = a_pair(people)
    people.clock.advance(days=31)
    retention.forget(people.context)
    assert next_pair(people) is None
    with pytest.raises(NotFound, match="not kept any longer"):
        vote(people, pair)
    assert people.rows("SELECT count(*) FROM verdicts") == [0]


def test_another_model_s_answers_are_not_asked_about(people: Desk) -> None:
    answered(people)
    pair = a_pair(people)
    deployment.publish(people.context, "another")
    assert next_pair(people) is None
    with pytest.raises(Conflict, match="have changed"):
        vote(people, pair)
    assert people.rows("SELECT count(*) FROM verdicts") == [0]


def test_other_directives_answers_are_not_asked_about(people: Desk, desks: Desks) -> None:
    answered(people)
    pair = a_pair(people)
    changed = desks.desk(judge="human", directives=("", "Answer in a word", "Answer in a syllable"))
    assert next_pair(changed) is None
    with pytest.raises(Conflict, match="have changed"):
        vote(changed, pair)
    assert a_pair(people) == pair


def deaf(request: EngineRequest) -> Completion:
    """An answer that follows no directive."""
    return completion(request.key, *echo(request.endpoint, {"messages": [{"role": "user", "content": "Yes, indeed."}]}))


def test_equal_answers_are_ties_without_anybody_being_asked(people: Desk) -> None:
    samples = answered(people, engine=EchoEngine(deaf))
    assert next_pair(people) is None
    query = "SELECT level, outcome, judge, judge_model, count(*) FROM verdicts GROUP BY 1, 2, 3, 4 ORDER BY 1"
    assert people.rows(query) == [
        (1, "tie", "human", "", samples),
        (2, "tie", "human", "", samples),
    ]


def test_what_a_machine_has_judged_people_may_judge_too(desks: Desks) -> None:
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1)
    worker = served(desk)
    ended(desk, worker, [ScriptedJudge()])
    (samples,) = desk.rows("SELECT count(*) FROM evaluation_samples")
    assert len(voted(desk)) == 2 * samples


def test_answers_of_a_model_that_is_gone_are_given_anew(desks: Desks) -> None:
    """A stint that was cut short leaves answers; what another model said is not compared with what this one says."""
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1)
    engine, judge = EchoEngine(), ScriptedJudge()
    serve(desk, desk.worker(engine))
    worker = desk.worker(engine, ScriptedMeter(step_j=0.01))
    judge.away = True
    ended(desk, worker, [judge])
    deployment.publish(desk.context, "another")
    judge.away = False
    before = len(engine.requests)
    desk.clock.advance(minutes=2)
    ended(desk, worker, [judge])
    (samples,) = desk.rows("SELECT count(*) FROM evaluation_samples WHERE state = 'judged'")
    assert samples > 0
    assert len(engine.requests) - before == 3 * samples

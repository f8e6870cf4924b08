"""Having the answers to sampled prompts compared, and entering the verdicts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from app.domain.directive import L0
from app.domain.endpoints import ENDPOINTS
from app.domain.judging import (
    PEOPLE,
    PROMPT_VERSION,
    Comparison,
    Kind,
    Opinion,
    Question,
    conversation,
    outcome,
    vote,
    without_judge,
)
from app.domain.request import REFERENCE_KEY
from app.ports import Judge
from app.services.context import Context
from app.services.generation import Worker
from app.services.stint import Stint, charge, renew
from app.settings import Settings
from app.store import rounds, samples, verdicts
from app.store.samples import Sample
from app.store.verdicts import Verdict

SERVER = "openai"
"""The judge to whom prompts are sent: a server that is not ours."""


def may_send(settings: Settings, tenant: str) -> bool:
    """Whether prompts may be sent to a judging server: it is named, and the tenant agreed."""
    return settings.judge == SERVER and tenant in settings.judge_tenants


def is_there(settings: Settings, tenant: str) -> bool:
    """Whether anybody says which of a tenant's answers is preferred."""
    return settings.judge in ("engine", PEOPLE) or may_send(settings, tenant)


def allowed(settings: Settings, judges: Sequence[Judge], tenant: str) -> Sequence[Judge]:
    """Those who may be asked about a tenant's prompts."""
    return [one for one in judges if one.name != SERVER or may_send(settings, tenant)]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A level's answer and L0's to one prompt, as one judge is shown them."""

    judge: Judge
    sample: Sample
    level: int
    level_at: int
    """The place in which the level's answer is shown, 0 or 1."""


def judge(context: Context, worker: Worker, judges: Sequence[Judge], stint: Stint) -> bool:
    """Judge what a stint has answered, and end its samples; False if the worker stops meanwhile.

    What was judged before a judge fails to answer is entered.

    Raises:
        JudgeUnavailable: a judge cannot be asked now.
        EngineFailed: the judge is this worker's own engine, and it is gone.
    """
    judges = allowed(context.settings, judges, stint.tenant)
    asked = {one.name: _pairs(one, stint) for one in judges}
    opinions: dict[str, Opinion] = {}
    try:
        for one in judges:
            if not _ask(context, worker, one, stint, asked[one.name], opinions):
                return False
    finally:
        for sample in stint.samples:
            own = {key: pair for pairs in asked.values() for key, pair in pairs.items() if pair.sample is sample}
            if own.keys() <= opinions.keys():
                _enter(context, judges, stint, sample, own, opinions)
    return True


def _pairs(one: Judge, stint: Stint) -> Mapping[str, Pair]:
    """What a judge is to be asked, by the key of each comparison."""
    places = (0, 1) if one.heeds_order else (0,)
    return {
        f"{stint.lease_id}/{one.name}/{sample.batch_id}/{sample.line}/{level}/{at}": Pair(
            judge=one, sample=sample, level=level, level_at=at
        )
        for sample in stint.answered
        if one.kind is Kind.PREFERENCE or _reference(sample) is not None
        for level, text in stint.answers[sample.key].items()
        if level != L0 and (one.kind is Kind.CORRECTNESS or without_judge(text, stint.answers[sample.key][L0]) is None)
        for at in places
    }


def _reference(sample: Sample) -> str | None:
    metadata = sample.body.get("metadata")
    return metadata.get(REFERENCE_KEY) if isinstance(metadata, dict) else None


def _comparison(key: str, pair: Pair, stint: Stint) -> Comparison:
    answers = stint.answers[pair.sample.key]
    shown = (answers[pair.level], answers[L0])
    asked = ENDPOINTS[pair.sample.endpoint].messages(pair.sample.body)
    question = Question(prompt=conversation(asked), reference=_reference(pair.sample))
    return Comparison(key=key, question=question, answers=shown if pair.level_at == 0 else shown[::-1])


def _ask(
    context: Context,
    worker: Worker,
    one: Judge,
    stint: Stint,
    pairs: Mapping[str, Pair],
    opinions: dict[str, Opinion],
) -> bool:
    """Collect opinions; False if the worker stops meanwhile."""
    if not pairs:
        return True
    came: list[Opinion] = []
    # The judge may be this worker's engine.
    worker.accountant.follow(pairs)
    try:
        with closing(one.judge([_comparison(key, pair, stint) for key, pair in pairs.items()])) as groups:
            renewed_at = time.monotonic()
            for group in groups:
                if time.monotonic() - renewed_at >= context.settings.lease_s / 4:
                    renew(context, stint)
                    renewed_at = time.monotonic()
                came += group
                opinions |= {opinion.key: opinion for opinion in group}
                if worker.stopping.is_set():
                    return False
    finally:
        worker.accountant.settle()
        charge(context, worker, stint, {key: pair.sample for key, pair in pairs.items()})
        with context.database.transaction() as connection:
            rounds.asked(
                connection,
                stint.round_id,
                requests=len(came) if one.kind is Kind.PREFERENCE else 0,
                prompt_tokens=sum(opinion.prompt_tokens for opinion in came),
                completion_tokens=sum(opinion.completion_tokens for opinion in came),
            )
    return True


def _enter(
    context: Context,
    judges: Sequence[Judge],
    stint: Stint,
    sample: Sample,
    pairs: Mapping[str, Pair],
    opinions: Mapping[str, Opinion],
) -> None:
    """End a sample with the verdicts on it."""
    found: list[Verdict] = []
    faults = [stint.faults[sample.key]] if sample.key in stint.faults else []
    for one in judges if not faults else ():
        for level in sorted(stint.answers[sample.key].keys() - {L0}):
            given = [(pair, opinions[key]) for key, pair in pairs.items() if pair.judge is one and pair.level == level]
            bad = [opinion.fault for _, opinion in given if opinion.fault]
            faults += bad
            verdict = None if bad else _verdict(context, one, stint, sample, level, given)
            found += [verdict] if verdict else []
    if context.settings.judge == PEOPLE and not faults:
        found += _evident(context, stint, sample)
    now = context.clock.now()
    with context.database.transaction() as connection:
        fault = "; ".join(dict.fromkeys(faults)) if faults and not found else None
        ended = samples.finish(
            connection,
            sample,
            stint.lease_id,
            answers=stint.answers[sample.key],
            fingerprint=stint.fingerprints[sample.workload],
            fault=fault,
            now=now,
        )
        if ended:
            verdicts.add(connection, found)
            if fault:
                rounds.failed(connection, stint.round_id, f"a prompt failed: {fault}")


def _evident(context: Context, stint: Stint, sample: Sample) -> Sequence[Verdict]:
    """Verdicts on pairs that people need not be shown; without them, only levels that differ from L0 would count."""
    answers = stint.answers[sample.key]
    settled = {level: without_judge(text, answers[L0]) for level, text in answers.items() if level != L0}
    return [
        _about(context, stint, sample, level, kind=Kind.PREFERENCE, outcome=found, judge=PEOPLE)
        for level, found in sorted(settled.items())
        if found is not None
    ]


def _verdict(
    context: Context,
    one: Judge,
    stint: Stint,
    sample: Sample,
    level: int,
    given: Sequence[tuple[Pair, Opinion]],
) -> Verdict | None:
    """What a judge's opinions on a level come to; None where it was not asked and there is nothing to say."""
    answers = stint.answers[sample.key]
    votes = {pair.level_at: vote(opinion.preferred, level_at=pair.level_at) for pair, opinion in given}
    settled = without_judge(answers[level], answers[L0]) if one.kind is Kind.PREFERENCE else None
    if not votes and settled is None:
        return None
    return _about(
        context,
        stint,
        sample,
        level,
        kind=one.kind,
        outcome=settled or outcome(list(votes.values())),
        judge=one.name,
        judge_model=one.model,
        prompt_version=PROMPT_VERSION if one.heeds_order else "",
        when_first=votes.get(0) if one.heeds_order else None,
        when_second=votes.get(1) if one.heeds_order else None,
        replies=[opinion.reply for _, opinion in given] or None,
    )


def _about(context: Context, stint: Stint, sample: Sample, level: int, **said: Any) -> Verdict:
    """A verdict on a level's answer to a sample; `said` is what the judge has to do with."""
    answers = stint.answers[sample.key]
    unsaid = {"judge_model": "", "prompt_version": "", "when_first": None, "when_second": None, "replies": None}
    return Verdict(
        tenant_id=stint.tenant,
        model=context.settings.served_name,
        fingerprint=stint.fingerprints[sample.workload],
        workload=sample.workload,
        level=level,
        batch_id=sample.batch_id,
        line=sample.line,
        round_id=stint.round_id,
        length=len(answers[level]),
        l0_length=len(answers[L0]),
        created_at=context.clock.now(),
        **{**unsaid, **said},
    )

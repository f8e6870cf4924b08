"""The worker's part in a round of evaluation: have sampled prompts answered at every level, and the answers judged.

Batch work goes first. A stint takes a few samples at a time, and it is looked up between them; what is unfinished when
batch work arrives, the gate closes or the worker stops is left for another time, with the answers that are there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from app.domain.errors import EngineFailed, EngineUnavailable, JudgeUnavailable
from app.ports import Judge
from app.services import answering, judge_limits, judging
from app.services.context import Context
from app.services.generation import Worker
from app.services.stint import AT_ONCE, FIRST, Stint, give_back, take
from app.store import rounds, samples, sharing

log = logging.getLogger(__name__)

LONGEST_GAP = timedelta(hours=6)
"""Without a moment in which no batch work waits or runs, for which a forced round waits."""


def run_round(context: Context, worker: Worker, judges: Sequence[Judge], round_id: str) -> None:
    """Evaluate samples of a round until none is left or something else goes first; nothing if this worker is at it.

    Raises:
        EngineFailed: the engine is gone. What was leased is taken up again once its lease has lapsed.
    """
    if not worker.evaluating.acquire(blocking=False):
        return
    try:
        while room := _room(context, worker, round_id):
            stint = take(context, round_id, limit=room)
            if not stint.samples or not _run(context, worker, judges, stint):
                break
    finally:
        worker.evaluating.release()


def _room(context: Context, worker: Worker, round_id: str) -> int:
    """How many samples may be taken here now: none if the gate is closed, or what was asked for waits or runs.

    A forced round that has found no gap for a while runs beside batch work: under a load that never ends there would be
    no evidence at all.
    """
    settings, now = context.settings, context.clock.now()
    if worker.stopping.is_set():
        return 0
    with context.database.transaction() as connection:
        found = rounds.get(connection, round_id)
        if found is None or found.closed_at is not None:
            return 0
        newest = next(iter(rounds.decisions(connection, found.tenant_id, found.model)), None)
        is_drained = newest is not None and newest.gate_open and newest.round_id == round_id
        if not is_drained:
            return 0
        own = {"place": settings.place, "model": settings.served_name}
        is_busy = not worker.pace.is_idle or sharing.is_waiting(connection, **own, now=now)
        is_starved = found.forced and now - found.opened_at >= LONGEST_GAP
        if is_busy and not is_starved:
            return 0
        progress = samples.progress(connection, round_id)
        most = AT_ONCE if progress.judged or progress.failed else FIRST
        return int(min(most, progress.affordable(found), judge_limits.room(settings, found)))


def _run(context: Context, worker: Worker, judges: Sequence[Judge], stint: Stint) -> bool:
    """Whether the stint came to its end, and the round may go on.

    After an error that nobody foresaw, its samples wait for their lease to lapse and count as lost: one that always
    brings it about fails in the end.
    """
    try:
        ended = answering.answer(context, worker, stint) and judging.judge(context, worker, judges, stint)
    except (EngineUnavailable, JudgeUnavailable) as exc:
        log.warning("round %s waits: %s", stint.round_id, exc.message)
        with context.database.transaction() as connection:
            rounds.failed(connection, stint.round_id, exc.message)
        ended = False
    except EngineFailed:
        worker.stopping.set()
        give_back(context, stint)
        raise
    give_back(context, stint)
    return ended

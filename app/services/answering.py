"""Answering sampled prompts at the levels at which they have no answer yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from app.domain.completion import Completion, EngineRequest
from app.domain.endpoints import ENDPOINTS
from app.services import deployment
from app.services.context import Context
from app.services.generation import Worker
from app.services.stint import WAIT_S, Stint, charge, keep
from app.settings import Settings
from app.store.samples import Sample

Wanted = Mapping[str, tuple[Sample, int]]
"""Sample and level of each answer that is asked for, by the key under which the engine knows it."""


def answer(context: Context, worker: Worker, stint: Stint) -> bool:
    """Complete the answers of a stint; False if the worker stops meanwhile. Each is kept as soon as it is there.

    Raises:
        EngineFailed: the engine is gone, or cannot be reached.
    """
    wanted: Wanted = {
        f"{stint.lease_id}/{sample.batch_id}/{sample.line}/{level}": (sample, level)
        for sample in stint.samples
        for level in range(context.settings.levels)
        if level not in stint.answers[sample.key]
    }
    if not wanted:
        return True
    requests = [_request(context.settings, key, sample, level) for key, (sample, level) in wanted.items()]
    worker.accountant.follow(wanted)
    try:
        timeout_s = context.settings.request_timeout_s
        with closing(worker.engine.generate(requests, timeout_s=timeout_s, wait_s=WAIT_S)) as groups:
            for group in groups:
                _take_in(context, worker, stint, wanted, group)
                if worker.stopping.is_set():
                    return False
    finally:
        worker.accountant.settle()
        charge(context, worker, stint, {key: sample for key, (sample, _) in wanted.items()})
    return True


def _request(settings: Settings, key: str, sample: Sample, level: int) -> EngineRequest:
    text = deployment.texts_of(settings, sample.workload)[level]
    endpoint = ENDPOINTS[sample.endpoint]
    # One answer is compared, however many the user asked for.
    body = endpoint.single(sample.body)
    if text:
        body = endpoint.place(body, text, deployment.placement(settings))
    return EngineRequest(key=key, endpoint=endpoint.path, body=body)


def _take_in(context: Context, worker: Worker, stint: Stint, wanted: Wanted, group: Sequence[Completion]) -> None:
    worker.accountant.settle()
    for completion in group:
        sample, level = wanted[completion.key]
        answers: dict[int, str] = {}
        if completion.succeeded:
            answers[level] = ENDPOINTS[sample.endpoint].answer(completion.body)
            stint.answers[sample.key].update(answers)
        else:
            stint.faults[sample.key] = f"L{level} was answered with status {completion.status_code}"
        keep(context, stint, sample, worker.accountant.charge(completion.key), answers)

"""A worker process from start to stop: what it holds, and how it gives it back."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from celery import signals

from app.broker.celery import queue_name
from app.composition import build_context, engine_identity, engine_model
from app.domain.errors import ConfigurationError
from app.grid.absent import AbsentProvider
from app.grid.providers import provider
from app.ports import Engine, IntensityProvider, Judge, Meter, Queue, Task
from app.services import deployment, judging
from app.services.accounting import WINDOW_S, Accountant
from app.services.context import Context
from app.services.dispatch import ring
from app.services.generation import Worker
from app.services.pace import Pace
from app.services.telling import Teller
from app.settings import BUNDLED_MODEL, Settings, load
from workers.judges.chat import ChatJudge
from workers.judges.reference import ReferenceJudge

log = logging.getLogger(__name__)

SHORTEST_WINDOW_S = 0.2

MOST_AT_ONCE = 16
"""Requests that a judging server is asked at once."""

_worker: Worker | None = None


@cache
def context() -> Context:
    """The context of this process."""
    return build_context(load())


@cache
def teller() -> Teller:
    """Who tells webhooks, in this process."""
    return Teller(context())


def intensity_provider() -> IntensityProvider:
    """The configured source, or one that says why that cannot be used: a trace that is gone must not stop the tasks."""
    try:
        return _configured_provider()
    except ConfigurationError as exc:
        return AbsentProvider(exc.message, basis=load().basis)


@cache
def _configured_provider() -> IntensityProvider:
    return provider(load())


def worker() -> Worker:
    """The generation worker of this process, which consumes the `generate` queue."""
    assert _worker is not None, "only a worker of the generate queue runs shards"
    return _worker


@cache
def judges() -> Sequence[Judge]:
    """Those who judge the answers of this process's engine."""
    settings = load()
    found: list[Judge] = [ReferenceJudge()]
    if settings.judge == "engine":
        found.append(ChatJudge(worker().engine, name="engine", model=settings.served_name))
    if any(judging.may_send(settings, tenant) for tenant in settings.judge_tenants):
        found.append(_remote_judge(settings))
    return found


def _remote_judge(settings: Settings) -> Judge:
    from workers.engines.openai import OpenAIEngine

    key = settings.judge_key.get_secret_value() if settings.judge_key else None
    at_once = min(settings.judge_per_minute, MOST_AT_ONCE)
    server = OpenAIEngine(
        settings.judge_url or "",
        api_key=key,
        concurrency=at_once,
        model=settings.judge_model,
        key_setting="SPROUT_JUDGE_KEY",
    )
    return ChatJudge(
        server,
        name="openai",
        model=settings.judge_model or "",
        per_minute=settings.judge_per_minute,
        timeout_s=settings.request_timeout_s,
    )


@signals.celeryd_after_setup.connect
def start(sender: str, instance: Any, **_: object) -> None:
    """Load the engine before the first message is taken, if this worker consumes `generate`."""
    global _worker
    settings = load()
    own = queue_name(Queue.GENERATE, settings.place, settings.queue_model(settings.served_name))
    if own not in instance.app.amqp.queues.consume_from:
        return
    try:
        # Before the engine, which takes long to load: without PostgreSQL nothing would be known of it.
        deployment.publish(context(), engine_identity(settings))
        engine = build_engine(settings)
        deployment.publish_endpoints(context(), engine.endpoints)
        accountant = Accountant(context(), engine, build_meter(context(), engine), worker=sender)
    except Exception as exc:
        # Celery logs what a signal handler raises and goes on: without an engine this worker would eat messages.
        log.exception("this worker cannot start")
        raise SystemExit(1) from exc
    pace = Pace(slots=settings.engine_max_seqs, largest=settings.shard_size, lease_s=settings.lease_s)
    _worker = Worker(name=f"{sender}/{os.getpid()}", engine=engine, accountant=accountant, pace=pace)
    threading.Thread(target=_keep_settling, args=(_worker,), daemon=True, name="meter").start()


def _keep_settling(owner: Worker) -> None:
    """Close windows while nothing runs too: idleness is metered. A worker is seen by its windows, so that the first one
    is stored at once, and what waited for such a worker is planned."""
    # Windows of a rehearsal are as short as its hours.
    pause_s = max(WINDOW_S / load().clock_speed, SHORTEST_WINDOW_S)
    if not owner.stopping.wait(SHORTEST_WINDOW_S):
        _settle(owner, store=True)
        ring(context(), Task.PLAN, "start")
    while not owner.stopping.wait(pause_s):
        _settle(owner)


def _settle(owner: Worker, *, store: bool = False) -> None:
    try:
        owner.accountant.settle(store=store)
    except Exception:
        # Whatever a driver raises once: the next reading covers the time since the last good one.
        log.exception("the meter could not be read")


@signals.worker_ready.connect
def spare_the_collector(**_: object) -> None:
    """What was loaded lives as long as this process: to look through it takes a tenth of a second and more, for which
    all threads, and so all answers, would wait."""
    gc.collect()
    gc.freeze()


@signals.worker_ready.connect
def catch_up(sender: Any, **_: object) -> None:
    """Compute the mixes at the start, instead of at the end of the first period."""
    if Queue.SCHEDULE in sender.app.amqp.queues.consume_from:
        ring(context(), Task.RECOMPUTE, "start")


@signals.worker_shutting_down.connect
def give_back(**_: object) -> None:
    """Running shards are returned within a second instead of being finished."""
    if _worker is not None:
        _worker.stopping.set()


@signals.worker_shutdown.connect
def close(**_: object) -> None:
    if _worker is not None:
        _worker.accountant.settle(store=True)
        _worker.engine.close()


def stop() -> None:
    """End this process in order: without its engine it is of no use, and its supervisor starts another."""
    log.error("the engine is gone: this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)


def build_engine(settings: Settings) -> Engine:
    """Raises ConfigurationError or EngineFailed."""
    if settings.engine == "openai":
        from workers.engines.openai import OpenAIEngine

        return OpenAIEngine(
            settings.engine_url or "",
            api_key=settings.engine_key.get_secret_value() if settings.engine_key else None,
            concurrency=settings.engine_max_seqs,
        )
    if ":" in settings.engine:
        return _own_engine(settings)
    from workers.engines.vllm import BUNDLED_TOOLS, VllmEngine

    tools = BUNDLED_TOOLS if settings.model == BUNDLED_MODEL else {}
    return VllmEngine(
        engine_model(settings),
        served_model_name=settings.served_name,
        dtype=settings.engine_dtype,
        max_model_len=settings.max_context,
        max_num_seqs=settings.engine_max_seqs,
        tensor_parallel_size=settings.tensor_parallel,
        kv_cache_gb=settings.kv_cache_gb,
        options={**tools, **settings.engine_args},
    )


def _own_engine(settings: Settings) -> Engine:
    module, _, function = settings.engine.partition(":")
    try:
        factory: Callable[[Settings], Engine] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"SPROUT_ENGINE={settings.engine} cannot be imported ({exc}): put the module on PYTHONPATH."
        ) from exc
    return factory(settings)


def build_meter(context: Context, engine: Engine) -> Meter:
    """The sensor of what this worker's engine runs on, where there is one, else the power model.

    Raises:
        ConfigurationError: SPROUT_METER names a sensor that is not there.
    """
    from workers.engines.vllm import VllmEngine
    from workers.meters.nvml import NvmlMeter
    from workers.meters.power_model import PowerModelMeter
    from workers.meters.rapl import RaplMeter

    wanted = context.settings.meter
    if wanted == "auto" and isinstance(engine, VllmEngine):
        sensor = RaplMeter if engine.on_cpu else NvmlMeter
        wanted = ("rapl" if engine.on_cpu else "nvml") if sensor.available() else "model"
    match wanted:
        case "nvml":
            return NvmlMeter(range(engine.devices))
        case "rapl":
            return RaplMeter()
        case _:
            device = context.device
            return PowerModelMeter(engine.devices * device.idle_w, engine.devices * device.busy_w, engine.busy_s)

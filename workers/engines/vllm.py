"""The engine that runs here: vLLM's AsyncLLM behind vLLM's own OpenAI serving layer."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from app.domain.attribution import Work
from app.domain.completion import Completion, EngineRequest
from app.domain.errors import ConfigurationError, EngineFailed
from workers.engines.lifeline import PLUGIN
from workers.engines.streaming import StreamingEngine, completion
from workers.engines.vllm_progress import VllmProgress

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.output_processor import RequestState

    from workers.engines.vllm_serving import ServingLayer

GIB = 2**30

BUNDLED_TOOLS: Mapping[str, Any] = {"tool-call-parser": "hermes", "enable-auto-tool-choice": True}
"""How the bundled model's tool calls are read. vLLM refuses tools without a parser, and every family of models writes
calls in its own form."""


class VllmEngine(StreamingEngine):
    """vLLM on this machine's GPUs or, with a CPU build, on its cores. One per process; loading takes seconds.

    The engine core is a process of its own. It is killed when this process ends, whichever way that happens.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        served_model_name: str,
        dtype: str = "auto",
        max_model_len: int | None = None,
        max_num_seqs: int = 128,
        kv_cache_gb: float | None = None,
        tensor_parallel_size: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Load `model` (a folder, or a name that vLLM can download) and wait until it can answer.

        `max_model_len` None: the model's own context. `kv_cache_gb`, in GiB, holds on a CPU; None: vLLM's choice, as
        always on a GPU. `options` are further options of `vllm serve` by their long names, such as
        `{"tool-call-parser": "hermes"}`; they win over the rest.

        Raises:
            ConfigurationError: vLLM does not know an option or its value, or the model is not there.
            EngineFailed: the engine did not start.
        """
        self._options: dict[str, Any] = {
            "model": str(model),
            "served-model-name": served_model_name,
            "dtype": dtype,
            "max-model-len": max_model_len,
            "max-num-seqs": max_num_seqs,
            "tensor-parallel-size": tensor_parallel_size,
            "disable-log-stats": True,
            "enable-prompt-tokens-details": True,  # which part of a prompt came from the prefix cache and cost nothing
        }
        self._kv_cache_gb = kv_cache_gb
        self._overrides = dict(options or {})
        self._client: AsyncLLM | None = None
        self._serving: ServingLayer | None = None
        self._core: Sequence[psutil.Process] = ()
        self._core_busy_s = 0.0
        self._progress = VllmProgress(self._states, lambda key, tokens: self.tally.reach(key, tokens))
        super().__init__(name="vllm-engine", slots=max_num_seqs, ahead=max_num_seqs)

    @property
    def devices(self) -> int:
        return self._devices

    @property
    def endpoints(self) -> Sequence[str]:
        return self._endpoints

    @property
    def on_cpu(self) -> bool:
        return self._on_cpu

    def _states(self) -> Collection[RequestState]:
        """vLLM's own record of what runs."""
        client = self._client
        return () if client is None else client.output_processor.request_states.values()

    async def open(self) -> None:
        _prepare_environment(self._options["model"])
        # vLLM takes seconds to import and reads the environment while it does.
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        from workers.engines.vllm_options import parse_options
        from workers.engines.vllm_serving import ServingLayer

        self._on_cpu = bool(current_platform.is_cpu())
        defaults = _cpu_options(self._options["tensor-parallel-size"], self._kv_cache_gb) if self._on_cpu else {}
        args, config = parse_options({**self._options, **defaults, **self._overrides})
        self._devices = 1 if self._on_cpu else config.parallel_config.world_size
        if self._on_cpu and config.model_config.enforce_eager:
            # Else the first request with log-probabilities stops the batch for seconds, to run a C++ compiler.
            os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
        try:
            self._client = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
            self._serving = await ServingLayer.over(self._client, args)
            self._endpoints = self._serving.endpoints
        except Exception as exc:
            raise EngineFailed(f"vLLM could not start {self._options['model']}: {exc}. Its log says why.") from exc
        if self._on_cpu:
            self._core = _with_children(_core_pid(self._client))

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        from vllm.v1.engine.exceptions import EngineDeadError

        assert self._serving is not None
        with self._progress.followed(request.key) as request_id:
            call = asyncio.ensure_future(self._serving.answer(request.endpoint, request.body, request_id=request_id))
            try:
                await asyncio.wait({call})
            except asyncio.CancelledError:
                # vLLM forgets what it aborts, but what that did was done.
                self._progress.look()
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                raise
        try:
            status, body = call.result()
        except EngineDeadError as exc:
            raise EngineFailed("The process of the vLLM engine has died: restart the worker.") from exc
        return completion(request.key, status, body)

    def drain_work(self) -> Mapping[str, Work]:
        """Tokens as they come: vLLM is asked how far its requests are."""
        self._progress.look()
        return super().drain_work()

    async def shut(self) -> None:
        if self._client is not None:
            self._client.shutdown()
            # What vLLM leaves to the garbage collector would end in warnings or, at interpreter exit, in errors.
            self._client.engine_core.resources.ctx.destroy(linger=0)
            self._client = self._serving = None
            gc.collect()

    def busy_s(self) -> float:
        """With a GPU, seconds with at least one request running; else CPU seconds of the engine core per core."""
        if not self._core:
            return super().busy_s()
        try:
            spent_s = sum(sum(process.cpu_times()[:2]) for process in self._core)
        except psutil.NoSuchProcess:
            return self._core_busy_s
        self._core_busy_s = max(self._core_busy_s, spent_s / _usable_cores())
        return self._core_busy_s


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _core_pid(client: AsyncLLM) -> int:
    return int(client.engine_core.resources.engine_manager.processes[0].pid)


def _with_children(pid: int) -> Sequence[psutil.Process]:
    """The engine core and, with tensor parallelism, its workers: all there once it answers."""
    core = psutil.Process(pid)
    return [core, *core.children(recursive=True)]


def _prepare_environment(model: str) -> None:
    """What vLLM takes from environment variables only, for this process and those it spawns."""
    if not entry_points(group="vllm.general_plugins", name=PLUGIN):
        raise ConfigurationError(
            f"The plugin {PLUGIN} is not installed, so vLLM could outlive this worker: install the project with pip."
        )
    if PLUGIN not in (allowed := os.environ.get("VLLM_PLUGINS", PLUGIN)).split(","):
        os.environ["VLLM_PLUGINS"] = f"{allowed},{PLUGIN}"
    # A forked engine core would inherit the worker's threads and locks.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _cpu_options(tensor_parallel_size: int, kv_cache_gb: float | None) -> dict[str, Any]:
    """Measured on 2 cores: the default executor reserves one of them (278 tokens/s instead of 470); compiling takes
    a minute at every start for 20 % more."""
    options: dict[str, Any] = {"enforce-eager": True}
    if kv_cache_gb is not None:
        options["kv-cache-memory-bytes"] = int(kv_cache_gb * GIB)
    if tensor_parallel_size == 1:
        # By its full name: vLLM turns "uni" into the default one on a CPU.
        options["distributed-executor-backend"] = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
    return options

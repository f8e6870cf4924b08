"""`vllm run-batch` over an engine that is loaded already, timed: the other side of `benchmarks/throughput.py`.

    python benchmarks/vllm_run_batch.py WARM.jsonl IN.jsonl OUT.jsonl TIMES.json [options of vllm run-batch]

Everything is vLLM's own code: its engine, then its `run_batch` twice, first over WARM.jsonl. The clock starts when vLLM
begins to read IN.jsonl, after it has set up its serving layer, and stops when OUT.jsonl is written.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of its children, present and past."""
    return sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))


def own_cpu_s() -> float:
    return sum(psutil.Process().cpu_times()[:2])


async def timed(warm: str, source: str, target: str, options: Sequence[str]) -> dict[str, Any]:
    # vLLM takes seconds to import and reads the environment while it does.
    from vllm.entrypoints.launchers import run_batch
    from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    begun: list[float] = []
    read_file = run_batch.read_file

    async def noted(path: str) -> str:
        begun.append(time.monotonic())
        return str(await read_file(path))

    run_batch.read_file = noted
    args = run_batch.make_arg_parser(FlexibleArgumentParser()).parse_args(["-i", warm, "-o", os.devnull, *options])
    started = time.monotonic()
    async with build_async_engine_client(args, usage_context=UsageContext.OPENAI_BATCH_RUNNER) as engine:
        load_s = time.monotonic() - started
        await run_batch.run_batch(engine, args)
        args.input_file, args.output_file = source, target
        before = own_cpu_s(), cpu_s(psutil.Process())
        await run_batch.run_batch(engine, args)
        wall_s = time.monotonic() - begun[-1]
        front_s = own_cpu_s() - before[0]
        cpu = {"front end": front_s, "engine core": cpu_s(psutil.Process()) - before[1] - front_s}
    return {"load_s": load_s, "wall_s": wall_s, "cpu_s": cpu}


def main() -> None:
    if len(sys.argv) < 5 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    warm, source, target, times, *options = sys.argv[1:]
    Path(times).write_text(json.dumps(asyncio.run(timed(warm, source, target, options))))


if __name__ == "__main__":
    main()

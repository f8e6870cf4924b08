"""Generated tokens per second of Sprout, from upload to downloaded output file, and of `vllm run-batch`.

    python benchmarks/throughput.py --dataset PATH/gsm8k_test.jsonl.gz [--requests 500] [--pairs 5] [--json FILE]

Both answer the same file on this machine, with equal engine settings, temperature 0 and the model loaded already; each
run has an engine of its own, so that no prompt is cached, and never two at once. A pair is a run of each, and every
other pair begins with the other one. Greedy answers in bfloat16 depend on the batch, so tokens per second are compared,
not texts. Beside it, without a counterpart, Sprout with directives (`--with-directives` runs): the paper's figures as
prior, in a dirty hour. Energy is what Sprout's own ledger says.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import psutil
from stack import stack
from vllm_run_batch import cpu_s

from app.cli.client import Client
from app.model.bundled import MODEL_NAME, prepare

Run = dict[str, Any]
WARM = 8
"""Questions, from the end of the data set, that are answered before the clock starts."""
ROLES = ("uvicorn", " beat", "scheduler@", "generator@", "flower", "postgres", "valkey")
ENGINE = {
    "dtype": "bfloat16",
    "max-model-len": "2048",
    "max-num-seqs": "128",
    "max-num-batched-tokens": "4096",
    "kv-cache-memory-bytes": str(2 * 2**30),
    "distributed-executor-backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
}
"""Sprout's own options on a CPU, spelled out for vLLM; see workers/engines/vllm.py."""


def write_inputs(dataset: Path, folder: Path, requests: int, max_tokens: int) -> None:
    with gzip.open(dataset, "rt", encoding="utf-8") as file:
        questions = [json.loads(text)["question"] for text in file]
    if len(questions) < requests + WARM:
        sys.exit(f"{dataset} has {len(questions)} questions: ask for at most {len(questions) - WARM} requests.")
    for name, texts in (("warm", questions[-WARM:]), ("in", questions[:requests])):
        bodies = [
            {
                "model": MODEL_NAME,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": max_tokens,
                "temperature": 0,
            }
            for text in texts
        ]
        lines = [
            {"custom_id": f"{name}-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            for number, body in enumerate(bodies)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_dirty_hour(path: Path) -> None:
    """A day of clean hours, then dirty ones: the floor is at its lowest."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [
        f"{now + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},BENCH,{100 if hour < 0 else 600}" for hour in range(-24, 24)
    ]
    path.write_text("\n".join(["datetime_utc,zone,intensity_g_per_kwh", *rows]) + "\n")


def settings(folder: Path, *, directives: bool) -> Mapping[str, str]:
    """The variables of a stack of its own."""
    own = {
        "SPROUT_MODEL": str(folder.parent / MODEL_NAME),
        "SPROUT_ENGINE_DTYPE": ENGINE["dtype"],
        "SPROUT_MAX_CONTEXT": ENGINE["max-model-len"],
        "SPROUT_ENGINE_MAX_SEQS": ENGINE["max-num-seqs"],
        "SPROUT_KV_CACHE_GB": "2",
        "SPROUT_PLACEMENT": "user",
    }
    if directives:
        write_dirty_hour(folder / "trace.csv")
        own |= {
            "SPROUT_PRIOR": "paper",
            "SPROUT_ZONE": "BENCH",
            "SPROUT_INTENSITY_PROVIDER": "trace",
            "SPROUT_TRACE_FILE": str(folder / "trace.csv"),
        }
    return own


def submit(client: Client, source: Path, target: Path, metadata: Mapping[str, str]) -> float:
    """Seconds from the upload to the downloaded output file, seen as `sprout batch run` sees it."""
    started = time.monotonic()
    batch = client.create(
        client.upload(source, source.name), endpoint="/v1/chat/completions", window="24h", metadata=metadata
    )
    *_, ended = client.watch(batch["id"])
    if not ended["output_file_id"]:
        sys.exit(f"The batch ended as {ended['status']}, without an output file.")
    client.download(ended["output_file_id"], target)
    return time.monotonic() - started


def cpu_by_role(up: psutil.Process) -> dict[str, float]:
    """CPU seconds of each part of the stack; the engine core apart from the worker that owns it."""
    found = {"up": sum(up.cpu_times()[:2])}
    for child in up.children():
        command = " ".join(child.cmdline())
        role = next((role for role in ROLES if role in command), command[:20])
        below = sum(cpu_s(each) for each in child.children()) if role == "generator@" else 0.0
        found[role.strip("@ ")] = cpu_s(child) - below
        if below:
            found["engine core"] = below
    return found


def run_sprout(folder: Path, *, directives: bool) -> Run:
    metadata = {"sprout_workload": "gsm8k", "sprout_level": "auto" if directives else "L0"}
    started = time.monotonic()
    with stack(folder / "home", settings(folder, directives=directives)) as (up, client):
        load_s = time.monotonic() - started
        submit(client, folder.parent / "warm.jsonl", folder / "warm-out.jsonl", metadata)
        before = cpu_by_role(up)
        wall_s = submit(client, folder.parent / "in.jsonl", folder / "out.jsonl", metadata)
        cpu = {role: spent - before.get(role, 0.0) for role, spent in cpu_by_role(up).items()}
    answers = [json.loads(text)["sprout"] for text in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    levels = [answer["level"] for answer in answers]
    return {
        **counted(folder, {"load_s": load_s, "wall_s": wall_s, "cpu_s": cpu}),
        "energy_j_per_request": fmean(answer["energy_j"] for answer in answers),
        "levels": {level: levels.count(level) for level in sorted(set(levels))},
    }


def run_vllm(folder: Path) -> Run:
    options = [f"--{name}={value}" for name, value in ENGINE.items()]
    model = ["--model", str(folder.parent / MODEL_NAME), "--served-model-name", MODEL_NAME]
    flags = ["--enforce-eager", "--disable-log-stats"]
    inputs, outputs = ("warm.jsonl", "in.jsonl"), ("out.jsonl", "times.json")
    files = [*(folder.parent / name for name in inputs), *(folder / name for name in outputs)]
    script = Path(__file__).with_name("vllm_run_batch.py")
    # As Sprout's worker sets it.
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "TORCH_COMPILE_DISABLE": "1",
    }
    with (folder / "run-batch.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, script, *files, *model, *flags, *options],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        sys.exit(f"vllm run-batch failed:\n{(folder / 'run-batch.log').read_text(errors='replace')[-3000:]}")
    return counted(folder, json.loads((folder / "times.json").read_text()))


def counted(folder: Path, run: Run) -> Run:
    """`run` with what the output file holds, once every line is answered."""
    answers = [json.loads(text) for text in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = len((folder.parent / "in.jsonl").read_text(encoding="utf-8").splitlines())
    if len(answers) != asked or any(answer["response"]["status_code"] != 200 for answer in answers):
        sys.exit(
            f"Of {asked} requests, {len(answers)} were answered, or some with an error: see {folder / 'out.jsonl'}."
        )
    tokens = sum(answer["response"]["body"]["usage"]["completion_tokens"] for answer in answers)
    return {
        **run,
        "tokens": tokens,
        "tokens_per_s": tokens / run["wall_s"],
        "requests_per_s": asked / run["wall_s"],
    }


def engine_config(log: Path) -> str:
    """The configuration with which vLLM says that its engine started."""
    found = re.search(r"with config: (.*)", log.read_text(errors="replace"))
    return found[1] if found else sys.exit(f"{log} does not say how vLLM was configured.")


def run(base: Path, name: str) -> Run:
    """One run in a folder of its own: `sprout`, `directives` or `run-batch`."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=base) as own:
        folder = Path(own)
        found = run_vllm(folder) if name == "run-batch" else run_sprout(folder, directives=name == "directives")
        log = folder / ("run-batch.log" if name == "run-batch" else "home/logs/generator.log")
        found |= {"load_average_before": busy, "config": engine_config(log)}
    cpu = ", ".join(f"{role} {spent / found['wall_s']:.1%}" for role, spent in found["cpu_s"].items() if spent > 0)
    print(
        f"{name:<11}{found['tokens_per_s']:8.1f} tokens/s {found['requests_per_s']:6.2f} requests/s, {found['tokens']} "
        f"tokens in {found['wall_s']:.1f} s; loaded in {found['load_s']:.1f} s; CPU {cpu}; load average {busy:.2f}",
        flush=True,
    )
    return found


def summarise(pairs: Sequence[Mapping[str, Run]], directed: Sequence[Run]) -> dict[str, Any]:
    ratios = [pair["sprout"]["tokens_per_s"] / pair["run-batch"]["tokens_per_s"] for pair in pairs]
    if len({each["config"] for pair in pairs for each in pair.values()}) != 1:
        sys.exit("The engines were not set up alike, so nothing can be compared: update ENGINE.")
    sides = {name: [pair[name] for pair in pairs] for name in ("sprout", "run-batch")} | {"directives": list(directed)}
    figures = ("tokens_per_s", "requests_per_s", "energy_j_per_request", "load_s")
    return {
        "ratio_tokens_per_s": median(ratios),
        "ratios": ratios,
        **{
            side: {name: median(each[name] for each in runs) for name in figures if name in runs[0]}
            for side, runs in sides.items()
            if runs
        },
        "runs": sides,
    }


def show(found: Mapping[str, Any]) -> None:
    ratios = found["ratios"]
    spread = f" ± {stdev(ratios):.3f}" if len(ratios) > 1 else ""
    print(f"\nSprout : vllm run-batch, generated tokens/s: {found['ratio_tokens_per_s']:.3f}{spread} (median of")
    print(f"{len(ratios)} pairs and standard deviation; each: {', '.join(f'{ratio:.3f}' for ratio in ratios)})")
    for side in ("sprout", "run-batch", "directives"):
        if side in found:
            print(f"  {side}: " + ", ".join(f"{name} {value:.2f}" for name, value in found[side].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--with-directives", type=int, default=1, help="runs with directives on")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.dataset.is_file():
        print(f"{options.dataset} is absent, nothing is measured: name GSM8K's test questions as gzipped JSONL.")
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        base = Path(folder)
        prepare(base)
        write_inputs(options.dataset, base, options.requests, options.max_tokens)
        orders = [("sprout", "run-batch"), ("run-batch", "sprout")]
        pairs = [{name: run(base, name) for name in orders[number % 2]} for number in range(options.pairs)]
        directed = [run(base, "directives") for _ in range(options.with_directives)]
    found = summarise(pairs, directed)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

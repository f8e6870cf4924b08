"""What Sprout says beyond OpenAI's API: directives, live results, and what a batch used."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query

from app.api.access import Caller, Services
from app.api.endings import Ends
from app.api.shapes import AskQuote, CastVote, Text, batch_shape
from app.services import batches, deferral, directives, finalization, grid, quality_report, quotes, reporting, voting

router = APIRouter(prefix="/sprout/v1")

LONGEST_WAIT_S = 15.0
"""An API that is to stop waits for those who wait."""

YEAR_9999 = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@router.get("/directives")
def current_directives(context: Services, tenant: Caller, zone: Text | None = None, model: Text | None = None) -> Any:
    """The directive mix of every workload, or of each of its strata, and why it is what it is; for the workers of the
    default zone and the installation's own model, or of `zone` and `model`.

    `run`, the latest one, is null before the first:

    - `outcome`: `solved`; or, with the fault in `reason`, `last_good` (earlier mixes stay) or `l0` (all run at L0).
    - `solver_status`: what the solver said. `created_at`: when it was computed.
    - `intensity`: the figure it went by, its `start`, `age_h` (whole hours), `basis`, `provider` and `origin`, how it
      was had: `measured`, `estimated`, `last good`, `forecast` or `static`; null without any.
    - `phi`: where that figure stands between the least (0) and the greatest (1) of the `past_hours` known hours.
    - `floor_fraction`: the part of L0's quality that is kept, 1 - xi phi; null unless solved.
    - `policy`: `name`, `mode`, `xi`, `quality_worth`, `kept_at_l0` and `confidence`. `hardware`: what prices it.

    `mixes`, by name; each says what the run that gave it knew, which is an earlier one when the last good mixes stay:

    - `workload`: the mix's name; `floor`: the workload whose quality floor covers it, another one for a stratum.
    - `probabilities` of the levels, L0 first; `binding`: the floor holds back further saving; `created_at`.
    - `share` of the recent traffic, 0 to 1; `base_quality`: L0's, null when nothing was judged.
    - `evidence`: the weakest that its claims rest on; `verdicts`: how many, each counting less with age.
    - `levels`: by name (`L0`), those that may be used: `energy_j` and `device_s` expected of a request, `claimed_gain`
      in quality over L0 at the policy's confidence, its `mean_gain`, `evidence` and `verdicts`.
    """
    return directives.explained(context, tenant, zone, model)


@router.get("/evaluations")
def evaluations(context: Services, tenant: Caller, model: Text | None = None) -> Any:
    """What is known of the quality of answers, and what is being done about it; of the installation's own model, or of
    `model`.

    - `decision`: of the newest tick, with its `reason`: `idle`, no round is open; `held`, one is, and waits for cleaner
      electricity; `drained`, it runs unless batch work goes first. Null before the first.
    - `levels`: per workload, level and `kind` (`preference` of a judge, or `correctness` where there are reference
      answers): `win_rate` against L0, ties counted half, so that 0.5 is as good as L0; its 90 % `interval`; `verdicts`,
      each counting less with age, and corrected for its judge's bias.
    - `judges`: what was measured of each from its own verdicts. `position_bias`: share of pairs in which the first was
      preferred in both orders, less that of the second. `length_bias`: how much more often an answer wins for being the
      longer one. One that is not `is_believed` counts for nothing.
    - `rounds`, newest first: why each was opened, its `budget_g` and what it `spent_g`, prompts `judged`, `failed` and
      `waiting`, what its judge was asked, and its newest `fault`.
    - `saved`, over 30 days and workload by workload: `footprint_g` of answered requests that drew a level, and
      `l0_footprint_g`, what they would have emitted at L0, estimated from those `at_l0`.
    - `overhead`: what evaluation emitted in these days, in all and as a `share` of what was served. A judging server's
      own energy is not known.
    - `events`: the newest, such as a drop in quality.
    """
    return quality_report.report(context, tenant, model)


@router.get("/votes/next")
def next_pair(context: Services, tenant: Caller, voter: Text) -> Any:
    """A blind pair of answers for `voter`, any name of up to 64 characters, to vote on.

    `pair` is null when nothing is left; else it has an `id`, the `prompt`, and the answers `first` and `second`: one at
    L0 and one at another level, in an order that says nothing. Everybody is given pairs with the fewest votes first,
    and prompts that they have not seen.
    """
    found = voting.next_pair(context, tenant, voter)
    return {"pair": asdict(found) if found else None}


@router.post("/votes")
def cast_vote(context: Services, tenant: Caller, body: CastVote) -> Any:
    """Say which answer of a pair is better: `choice` is `first`, `second` or `neither`.

    `voter` votes once on a pair, on one that was given to that name. A pair whose answers are not kept any longer, or
    not those of the present model and directives, is refused.
    """
    voting.vote(context, tenant, body.voter, body.pair, body.choice)
    return {"pair": body.pair, "choice": body.choice}


@router.get("/intensity")
def carbon_intensity(context: Services) -> Any:
    """Carbon intensity (gCO2eq/kWh) of every zone that has workers, the default one first, as `zones`:

    - `basis`: the accounting basis of all its figures. Figures on two bases cannot be compared.
    - `devices`: how many work there, 0 where no worker was seen within a day.
    - `present`: the figure that prices the present hour: `intensity_g_per_kwh`, `start` of its hour, `provider`, and
      `origin`, how it was had: `measured`, `estimated` (the provider may revise it), `last good` (of an earlier hour),
      `forecast`, `zone mean` (of the past 30 days) or `static` (SPROUT_STATIC_INTENSITY).
    - `past`: the stored hours of the past 24.
    - `forecast`: the coming hours, each with the `provider` that forecast it and when (`issued_at`). `error_90`: nine
      of ten figures differed by at most this part from what was forecast so far ahead; null while too few are known.
    - `scores`: per provider and lead time (`lead_h`), over the past 35 days: `forecasts` that met their figure, `mape`
      (mean of |forecast - figure| / figure), figures of 0 left out and counted (`zero_hours`), and `error_90`.
    """
    return {"zones": grid.overview(context)}


@router.post("/quote")
def ask_quote(context: Services, tenant: Caller, body: AskQuote) -> Any:
    """What a batch would emit and when it would end, before it is submitted.

    `options`: at once (`asap`), then waiting for cleaner hours (`carbon`) within ever longer windows, up to
    `completion_window`. Each has `expected_end`, `footprint_g` with its interval (null until enough forecasts were
    scored), and `in_time`: whether it would end in its window even at half the measured capacity. Grams are
    attributional: average or marginal intensity as `intensity_basis` says.
    """
    found = quotes.quote(
        context,
        tenant,
        requests=body.requests,
        completion_window=body.completion_window,
        zones=body.zones,
        level=body.level,
        size=body.bytes,
        model=body.model,
    )
    return asdict(found)


@router.post("/batches/{batch_id}/release")
def release_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """Let a batch that waits for cleaner hours run at once."""
    deferral.release(context, tenant, batch_id)
    return batch_shape(*batches.get(context, tenant, batch_id))


@router.get("/batches/{batch_id}/wait")
async def wait_for_batch(
    context: Services,
    tenant: Caller,
    ends: Ends,
    batch_id: Text,
    within_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)] = LONGEST_WAIT_S,
) -> Any:
    """The batch as `GET /v1/batches/{batch_id}` has it: once it has ended, or after `within_s` seconds at most."""
    look = partial(batches.get, context, tenant, batch_id)
    with ends.expecting(batch_id) as ended:
        found = await anyio.to_thread.run_sync(look)
        if not found[0].status.is_final and within_s:
            with anyio.move_on_after(within_s):
                await ended.wait()
            found = await anyio.to_thread.run_sync(look)
    return batch_shape(*found)


@router.get("/batches/{batch_id}/report")
def batch_report(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """Requests, tokens, energy and footprint per level, and the estimate of L0's cost.

    - `levels`: sums per workload, level and `intensity_basis`; those of two bases must not be added up. Where hours got
      another figure since, `first_operational_g` is what was priced at first; null where nothing changed.
    - `l0_refused`: why there is no estimate at all; null unless the batch was priced on two bases.
    - `intensity_origins`: how many `requests` that ran were priced with figures of each `basis` and `origin`.
    """
    found = asdict(reporting.report(context, tenant, batch_id))
    found.pop("batch")
    return found


@router.get("/batches/{batch_id}/results")
def live_results(
    context: Services,
    tenant: Caller,
    batch_id: Text,
    since: Annotated[float, Query(ge=0, lt=YEAR_9999)] = 0.0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Any:
    """Results recorded at or after `since` (Unix seconds) while the batch runs, oldest first.

    A preview: results recorded at about the same time may appear out of order, so ask again with some overlap. The
    output file of the ended batch is complete.
    """
    batches.get(context, tenant, batch_id)
    found = reporting.finished_since(context, batch_id, datetime.fromtimestamp(since, UTC), limit)
    return {
        "data": [
            {**finalization.output_line(result), "finished_at": result.finished_at.timestamp()} for result in found
        ]
    }

"""`python -m workers.calibrate PHASES`: measure what a token costs on this machine, on the engine and the meter of a
worker. `sprout calibrate` runs it."""

from __future__ import annotations

import sys
from contextlib import closing

from app.composition import build_context
from app.domain.errors import SproutError
from app.services.calibration import Bench, calibrate, is_good, lines
from app.settings import load
from workers.lifecycle import build_engine, build_meter, spare_the_collector


def main() -> None:
    settings = load()
    context = build_context(settings)
    try:
        with closing(build_engine(settings)) as engine:
            # As in the workers that its figures are for.
            spare_the_collector()
            bench = Bench(context=context, engine=engine, meter=build_meter(context, engine))
            found = calibrate(bench, phases=int(sys.argv[1]), report=lambda line: print(line, flush=True))
        for line in lines(found):
            print(line, flush=True)
        sys.exit(0 if is_good(found) else 1)
    except SproutError as exc:
        print(f"sprout: {exc.message}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

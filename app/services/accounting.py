"""The ledger of one worker: metered windows, split over the requests that ran in them, priced by the hour."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.domain.attribution import Attribution, Use
from app.domain.calibration import Costs
from app.domain.errors import ServiceUnavailable
from app.ports import EnergyBasis, Engine, Meter
from app.services import calibration, intensity
from app.services.context import Context
from app.store import windows
from app.store.windows import Window

log = logging.getLogger(__name__)

WINDOW_S = 10.0
"""Windows are split more often than this, but stored about this often."""


class Accountant:
    """Thread-safe. The only reader of the engine's work and of the meter in a worker."""

    def __init__(
        self,
        context: Context,
        engine: Engine,
        meter: Meter,
        *,
        worker: str,
    ) -> None:
        self._context = context
        self._engine = engine
        self._meter = meter
        self._worker = worker
        self._lock = threading.Lock()
        self._attribution = Attribution()
        self._followed: set[str] = set()
        self._energy_j = meter.energy_j()
        # Durations by a clock that cannot be set; the wall clock only says when windows end.
        self._settled_at = self._stored_at = context.clock.monotonic()
        self._window, self._idle = Use(), Use()
        self._costs = self._known_costs()

    def _known_costs(self) -> Costs | None:
        try:
            with self._context.database.transaction() as connection:
                return calibration.known_costs(connection, self._context.settings, self.basis)
        except ServiceUnavailable as exc:
            log.warning("requests are charged by their time until PostgreSQL answers: %s", exc)
            return None

    def follow(self, keys: Iterable[str]) -> None:
        """These requests are about to run; what was used until now is not theirs."""
        self.settle()
        with self._lock:
            self._followed.update(keys)

    def settle(self, *, store: bool = False) -> None:
        """Split what was used since the last call over the requests that ran; store the window when it is long enough.

        With `store`, store it in any case: the worker is about to stop.
        """
        with self._lock:
            now, energy_j, work = self._context.clock.monotonic(), self._meter.energy_j(), self._engine.drain_work()
            use = Use(
                energy_j=max(energy_j - self._energy_j, 0.0), device_s=(now - self._settled_at) * self._engine.devices
            )
            self._energy_j, self._settled_at = energy_j, now
            self._idle += self._attribution.add_window(use, work, self._costs)
            self._window += use
            for key in work.keys() - self._followed:
                # Given up, and the engine has only now let go of it: no request pays for that.
                self._attribution.take(key)
            if store or now - self._stored_at >= WINDOW_S:
                self._store()

    @property
    def basis(self) -> EnergyBasis:
        return self._meter.basis

    def charge(self, key: str) -> Use:
        """What the request `key` used, up to the last `settle`; it is forgotten afterwards."""
        with self._lock:
            self._followed.discard(key)
            return self._attribution.take(key)

    def _store(self) -> None:
        settings, now = self._context.settings, self._context.clock.now()
        try:
            with self._context.database.transaction() as connection:
                priced = intensity.current(connection, settings, settings.zone, now)
                window = Window(
                    worker=self._worker,
                    # Capacity is measured by the length of windows: a machine that slept, or a clock that was set,
                    # must not change it.
                    started_at=now - timedelta(seconds=self._settled_at - self._stored_at),
                    ended_at=now,
                    energy_j=self._window.energy_j,
                    device_s=self._window.device_s,
                    idle_energy_j=min(self._idle.energy_j, self._window.energy_j),
                    idle_device_s=min(self._idle.device_s, self._window.device_s),
                    energy_basis=self._meter.basis,
                    zone=settings.zone,
                    model=settings.served_name,
                    intensity_g_per_kwh=priced.intensity_g_per_kwh,
                    intensity_basis=priced.basis,
                    intensity_origin=priced.origin,
                )
                windows.add(connection, window)
                self._costs = calibration.known_costs(connection, settings, self.basis)
        except (ServiceUnavailable, SQLAlchemyError) as exc:
            # The window stays open and is stored, longer, next time.
            log.warning("the metered window waits for PostgreSQL: %s", exc)
            return
        self._stored_at = self._settled_at
        self._window, self._idle = Use(), Use()

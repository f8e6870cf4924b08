"""A real HTTP server on loopback that speaks like a source of carbon intensity and does what a test tells it to.

`with GridServer(Uk(GRID)) as server:` and point a provider at `server.url`. The sources are small: they know the rules
of the real ones that a provider can trip over, and nothing else.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from app.domain.intensity import HOUR, IntensityPoint
from app.domain.units import hour_of
from tests.support.clock import NOON, FakeClock
from tests.support.loopback import LoopbackServer

Grid = Mapping[str, Mapping[datetime, float]]
"""Grams per kWh by zone and hour."""


class GridClock(FakeClock):
    """A clock on which pauses take no time."""

    def __init__(self, moment: datetime = NOON) -> None:
        super().__init__(moment)
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.advance(seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What the server answers; `text`, if given, is sent instead of `body`."""

    status: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    raw: bytes | None = None
    """Sent instead of either."""


DROP = Response(status=0)
"""The connection is closed without an answer."""
CUT = Response(status=-1, text='{"zone": "DE"')
"""The connection is closed in the middle of the answer."""
HANG = Response(status=-2)
"""There is no answer before the server closes."""
DRIP = Response(status=-3)
"""The body comes byte by byte, and has no end before the server closes."""
DRIP_HEADERS = Response(status=-4)
"""The same of a header."""

Source = Callable[[Request], Response]


class GridServer(LoopbackServer):
    def __init__(self, source: Source) -> None:
        super().__init__(_handler(self))
        self.source = source
        self.first: deque[Response] = deque()
        """Answers that go out before the source is asked."""
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return self.address

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def fail(self, times: int, response: Response) -> None:
        """Answer the next requests with `response`."""
        self.first.extend([response] * times)

    def respond(self, request: Request) -> Response:
        self.requests.append(request)
        return self.first.popleft() if self.first else self.source(request)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nX-Long: \r\n\r\n"


def drip(connection: BufferedIOBase, closing: threading.Event, head: bytes) -> None:
    with suppress(ConnectionError):
        connection.write(head)
        while not closing.wait(0.02):
            connection.write(b" ")


def _handler(server: GridServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = server.respond(Request(path=url.path, params=dict(parse_qsl(url.query)), headers=headers))
            if response is HANG:
                server.closing.wait()
            if response in (HANG, DROP):
                return
            if response in (DRIP, DRIP_HEADERS):
                drip(self.wfile, server.closing, HEAD if response is DRIP else HEAD.removesuffix(b"\r\n"))
                return
            text = json.dumps(response.body) if response.text is None else response.text
            payload = text.encode() if response.raw is None else response.raw
            self.send_response(200 if response is CUT else response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload) + 100 * (response is CUT)))
            self.end_headers()
            with suppress(ConnectionError):  # who had enough has left
                self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            """Quiet: a test that fails shows `server.requests`."""

    return Handler


@dataclass
class ElectricityMaps:
    """Its endpoints of one zone each; `plan` names those that the token may use."""

    grid: Grid
    clock: FakeClock
    token: str = "letmein"
    plan: set[str] = field(default_factory=lambda: {"past-range", "history", "latest", "forecast"})
    versions: set[str] = field(default_factory=lambda: {"v4", "v3"})
    factors: str | None = None
    """Answered instead of what was asked for."""
    unmeasured: set[datetime] = field(default_factory=set)
    """Hours whose figure is null."""
    estimated_from: datetime | None = None
    longest_horizon_h: int = 72

    def __call__(self, request: Request) -> Response:
        version, _, path = request.path.strip("/").split("/")
        zone = request.params["zone"]
        if version not in self.versions or zone not in self.grid:
            return Response(status=404, body={"error": "Not found"})
        if request.headers.get("auth-token") != self.token:
            return Response(status=401, body={"message": "Invalid auth-token"})
        if path not in self.plan:
            return Response(status=401, body={"error": "Unauthorized", "message": "Not in your plan for this zone."})
        if path == "forecast":
            return self._forecast(request)
        factors = self.factors or request.params["emissionFactorType"]
        rows = [self._row(zone, hour, factors) for hour in sorted(self.grid[zone]) if hour <= self.clock.now()]
        if path == "latest":
            return Response(body=rows[-1])
        if path == "history":
            return Response(body={"zone": zone, "history": rows[-24:], "temporalGranularity": "hourly"})
        start, end = (datetime.fromisoformat(request.params[name]) for name in ("start", "end"))
        if end - start > timedelta(days=10):
            return Response(status=400, body={"message": "The range is longer than 10 days."})
        inside = [row for row in rows if start <= datetime.fromisoformat(row["datetime"]) <= end]
        return Response(body={"zone": zone, "data": inside, "temporalGranularity": "hourly"})

    def _row(self, zone: str, hour: datetime, factors: str) -> dict[str, Any]:
        estimated = self.estimated_from is not None and hour >= self.estimated_from
        # Direct figures are smaller; created and updated are other moments than the hour's own.
        grams = self.grid[zone][hour] * (1.0 if factors == "lifecycle" else 0.25)
        return {
            "zone": zone,
            "carbonIntensity": None if hour in self.unmeasured else grams,
            "datetime": f"{hour:%Y-%m-%dT%H:%M:%S}.000Z",
            "updatedAt": f"{hour + 3 * HOUR:%Y-%m-%dT%H:%M}:08.708Z",
            "createdAt": f"{hour - 60 * HOUR:%Y-%m-%dT%H:%M}:11.365Z",
            "emissionFactorType": factors,
            "isEstimated": estimated,
            "estimationMethod": "TIME_SLICER" if estimated else None,
        }

    def _forecast(self, request: Request) -> Response:
        now, zone = self.clock.now(), request.params["zone"]
        horizon = int(request.params.get("horizonHours", "24"))
        if horizon > self.longest_horizon_h:
            return Response(status=400, body={"message": "horizonHours is beyond your plan."})
        coming = [hour for hour in sorted(self.grid[zone]) if hour_of(now) <= hour < now + horizon * HOUR]
        rows = [{"carbonIntensity": self.grid[zone][hour], "datetime": hour.isoformat()} for hour in coming]
        return Response(body={"zone": zone, "forecast": rows, "updatedAt": f"{now - timedelta(minutes=7):%FT%TZ}"})


@dataclass
class WattTime:
    """Sign-in, historical and forecast, in pounds per MWh and steps of 5 minutes."""

    grid: Grid
    clock: FakeClock
    password: str = "hunter2"
    plan: set[str] = field(default_factory=lambda: {"historical", "forecast"})
    meta: dict[str, Any] = field(default_factory=dict)
    """Answered instead of the usual."""
    known_until: datetime | None = None
    issued: list[str] = field(default_factory=list)
    """Tokens; the last one is good."""

    def __call__(self, request: Request) -> Response:
        if request.path == "/login":
            given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            if given != f"ann:{self.password}":
                return Response(status=401, body={"error": f"Wrong password {given.partition(':')[2]}"})
            self.issued.append(f"token-{len(self.issued)}")
            return Response(body={"token": self.issued[-1]})
        if not self.issued or request.headers.get("authorization") != f"Bearer {self.issued[-1]}":
            return Response(status=401, body={"message": "Token has expired"})
        region, path = request.params["region"], request.path.removeprefix("/v3/")
        if region not in self.grid:
            return Response(status=400, body={"error": "Invalid region"})
        if path not in self.plan:
            return Response(status=403, body={"message": "Your account lacks this region."})
        return self._data(path, request.params, self.grid[region])

    def _data(self, path: str, params: Mapping[str, str], hours: Mapping[datetime, float]) -> Response:
        now = self.clock.now()
        meta = {
            "region": params["region"],
            "signal_type": params["signal_type"],
            "units": "lbs_co2_per_mwh",
            "data_point_period_seconds": 300,
            "warnings": [],
        }
        if path == "forecast":
            start, end = now, now + int(params.get("horizon_hours", "24")) * HOUR
            meta["generated_at"] = (now - timedelta(minutes=5)).isoformat()
        else:
            start, end = (datetime.fromisoformat(params[name]) for name in ("start", "end"))
            if end - start > timedelta(days=32):
                return Response(status=400, body={"error": "The range is longer than 32 days"})
            end = min(end, self.known_until or now)
        points = [
            {"point_time": moment.isoformat(), "value": grams / 0.45359237}
            for moment, grams in steps(hours, timedelta(minutes=5))
            if start <= moment <= end
        ]
        return Response(body={"data": points, "meta": {**meta, **self.meta}})


@dataclass
class Uk:
    """National by half-hours with what was measured, and a region by postcode with forecasts only."""

    grid: Grid
    clock: FakeClock
    measured_until: datetime | None = None
    error: float = 10.0
    """By which forecasts are above what is measured."""

    def __call__(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        regional = parts[0] == "regional"
        start, end = parts[2:4] if regional else parts[1:3]
        zone = f"GB-{parts[-1]}" if regional else "GB"
        if zone not in self.grid:
            return Response(status=400, body={"error": {"code": "400 Bad Request", "message": "No such postcode."}})
        since = datetime.fromisoformat(start)
        until = since + 48 * HOUR if end == "fw48h" else datetime.fromisoformat(end)
        if until - since > timedelta(days=14):
            return Response(status=400, body={"error": {"code": "400 Bad Request", "message": "Too many days."}})
        half = timedelta(minutes=30)
        # The answer includes the half-hour that ends when the question begins.
        halves = [(m, grams) for m, grams in steps(self.grid[zone], half) if since - half <= m < until]
        rows = [self._row(moment, grams, regional) for moment, grams in halves]
        return Response(body={"data": {"regionid": 12, "postcode": parts[-1], "data": rows} if regional else rows})

    def _row(self, moment: datetime, grams: float, regional: bool) -> dict[str, Any]:
        known = moment + timedelta(minutes=30) <= (self.measured_until or self.clock.now())
        intensity: dict[str, Any] = {"forecast": grams + self.error, "index": "moderate"}
        if not regional:
            intensity["actual"] = grams if known else None
        end = moment + timedelta(minutes=30)
        return {"from": f"{moment:%Y-%m-%dT%H:%MZ}", "to": f"{end:%Y-%m-%dT%H:%MZ}", "intensity": intensity}


def steps(hours: Mapping[datetime, float], step: timedelta) -> Iterator[tuple[datetime, float]]:
    """The parts of each hour, which differ among themselves and have the hour's figure as their mean."""
    parts = HOUR // step
    for hour in sorted(hours):
        for part in range(parts):
            yield hour + part * step, hours[hour] + part - (parts - 1) / 2


def figures(points: Sequence[IntensityPoint], since: datetime = NOON) -> dict[int, float]:
    """By hour from `since`, to a thousandth."""
    return {(point.start - since) // HOUR: round(point.intensity_g_per_kwh, 3) for point in points}

"""What a Prometheus server may scrape: read from PostgreSQL at each scrape, so that every API process says the same."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.access import Services
from app.services import quality_report
from app.services.context import Context

router = APIRouter()


class _Events(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("sprout_events", "What a person should know of, by kind.", labels=["kind"])
        for kind, number in quality_report.event_counts(self._context).items():
            family.add_metric([kind], number)
        yield family


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
def metrics(context: Services) -> Response:
    """In Prometheus' text format: `sprout_events_total` by `kind` (`quality_drop`, `model_changed`)."""
    registry = CollectorRegistry()
    registry.register(_Events(context))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

"""The configured source of carbon intensity."""

from __future__ import annotations

from app.grid.static import StaticProvider
from app.grid.trace import TraceProvider, read_trace
from app.ports import IntensityProvider
from app.settings import Settings


def provider(settings: Settings) -> IntensityProvider:
    """Raises ConfigurationError when the trace cannot be used."""
    if settings.intensity_provider == "trace" and settings.trace_file is not None:
        trace = read_trace(settings.trace_file, zone=settings.zone, basis=settings.intensity_basis)
        return TraceProvider(trace, repeats=settings.trace_repeats)
    return StaticProvider(settings.static_intensity, basis=settings.intensity_basis)

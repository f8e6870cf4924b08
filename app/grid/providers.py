"""The configured source of carbon intensity."""

from __future__ import annotations

from pydantic import SecretStr

from app.domain.errors import ConfigurationError
from app.grid.electricity_maps import ElectricityMapsProvider
from app.grid.static import StaticProvider
from app.grid.trace import TraceProvider, read_trace
from app.grid.uk import UkProvider
from app.grid.watttime import WattTimeProvider
from app.ports import IntensityProvider
from app.settings import Settings


def provider(settings: Settings) -> IntensityProvider:
    """Raises ConfigurationError when the trace cannot be used, or SPROUT_INTENSITY_URL is no URL."""
    url = settings.intensity_url
    match settings.intensity_provider:
        case "static":
            return StaticProvider(settings.static_intensity, basis=settings.basis)
        case "trace":
            if settings.trace_file is None:
                raise ConfigurationError("SPROUT_INTENSITY_PROVIDER=trace needs SPROUT_TRACE_FILE.")
            file, basis = settings.trace_file, settings.basis
            traces = [read_trace(file, zone=zone, basis=basis) for zone in settings.all_zones]
            return TraceProvider(*traces, repeats=settings.trace_repeats)
        case "electricity_maps":
            token = _secret(settings.electricity_maps_token)
            return ElectricityMapsProvider(token, basis=settings.basis, url=url)
        case "watttime":
            return WattTimeProvider(settings.watttime_user or "", _secret(settings.watttime_password), url=url)
        case "uk":
            return UkProvider(url=url)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""

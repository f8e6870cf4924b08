"""All settings, from SPROUT_* environment variables. Read at composition roots only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict, SettingsError

from app.domain.batch import ANY_ZONE
from app.domain.directive import PAPER_DIRECTIVES, Placement
from app.domain.errors import ConfigurationError
from app.domain.intensity import Basis
from app.domain.optimizer import QUALITY_WORTH, FloorMode
from app.domain.policy import CONFIDENCE
from app.evaluation_settings import EvaluationSettings
from app.file_settings import FileSettings
from app.webhook_settings import WebhookSettings

BUNDLED_MODEL = "smollm2-135m-instruct"

BASES: Mapping[str, Sequence[Basis]] = {
    "static": tuple(Basis),
    "trace": tuple(Basis),
    "electricity_maps": (Basis.LIFECYCLE_AVERAGE, Basis.DIRECT_AVERAGE),
    # Its signal co2_moer: emissions of the plants that answer to a change in demand.
    "watttime": (Basis.DIRECT_MARGINAL,),
    # The factors of the Carbon Intensity API count combustion only.
    "uk": (Basis.DIRECT_AVERAGE,),
}
"""The bases in which each provider gives its figures, its default first."""


FACTORY = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
"""Where an engine of one's own comes from: a function that is given the settings and returns an `Engine`."""

ZONE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Zones are part of queue names."""


def default_home() -> Path:
    """Where state lives unless SPROUT_HOME says otherwise."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "sprout"


class Settings(EvaluationSettings, FileSettings, WebhookSettings):
    """Every field is a variable: `home` is SPROUT_HOME. Lists and objects are written as JSON."""

    model_config = SettingsConfigDict(
        env_prefix="SPROUT_", env_ignore_empty=True, frozen=True, extra="ignore", allow_inf_nan=False
    )

    home: Path = Field(default_factory=default_home, description="the one folder in which state lives")
    database_url: SecretStr | None = Field(None, description="PostgreSQL of your own; unset: `up` starts a private one")
    broker_url: SecretStr | None = Field(None, description="Redis or Valkey of your own; unset: `up` starts one")
    api_host: str = Field("127.0.0.1", description="address of the API and of Flower")
    api_port: int = Field(8000, ge=0, le=65535, description="port of the API; 0 picks a free one")
    flower_port: int = Field(5555, ge=0, le=65535, description="port of Flower; 0 picks a free one")
    api_key: SecretStr | None = Field(None, description="bearer key the API asks for; needed off loopback")
    api_url: str | None = Field(None, description="API the CLI talks to; unset: the stack of SPROUT_HOME")

    engine: str = Field(
        "vllm",
        pattern=rf"^(vllm|openai|{FACTORY})$",
        description="`vllm` in this worker, `openai` for a remote server, or `module:function` for one of your own",
    )
    model: str = Field(BUNDLED_MODEL, description="bundled model, a local model folder or a Hugging Face name")
    model_name: str | None = Field(None, description="name by which clients ask for the model; unset: from `model`")
    default_model: str | None = Field(
        None, description="name of the installation's own model, whose queue is `generate`; unset: this process's model"
    )
    engine_url: str | None = Field(None, description="base URL of the remote engine, such as http://host:8000/v1")
    engine_key: SecretStr | None = Field(None, description="bearer key of the remote engine")
    engine_dtype: str = Field("auto", description="vLLM dtype; bfloat16 or float32 on a CPU")
    engine_max_seqs: int = Field(128, gt=0, description="requests in the running batch")
    tensor_parallel: int = Field(1, gt=0, description="GPUs over which vLLM splits the model")
    engine_args: dict[str, object] = Field(default_factory=dict, description="further vLLM engine arguments")
    kv_cache_gb: int = Field(1, gt=0, description="vLLM's KV cache on a CPU, in GiB")
    max_context: int | None = Field(None, gt=0, description="cap on the model's context, in tokens")
    request_timeout_s: float = Field(600.0, gt=0, description="longest time one request may run")

    directives: tuple[str, ...] = Field(PAPER_DIRECTIVES, description="directive text per level, L0 first and empty")
    workload_directives: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="directive texts of single workloads"
    )
    placement: Placement | None = Field(None, description="system or user; unset: what suits the model")
    xi: float = Field(0.1, ge=0, le=1, description="quality that may be given up in the dirtiest hour")
    floor_mode: FloorMode = Field(
        FloorMode.PER_WORKLOAD, description="`per-workload`, `aggregate` or `service`: whose quality the floor keeps"
    )
    confidence: float = Field(
        CONFIDENCE,
        ge=0.5,
        lt=1,
        description="probability with which a claimed quality holds; 0.5 takes means at face value",
    )
    quality_worth: float = Field(
        QUALITY_WORTH, ge=0, description="share of L0's footprint that all of L0's quality is worth"
    )
    profile_half_life_s: float = Field(
        604_800.0, gt=0, description="age at which a request counts half in the mean use of its workload and level"
    )
    period_s: float = Field(3600.0, gt=0, description="how often the directive mix is recomputed")

    discovery: bool = Field(True, description="tell classes of prompts apart by their text")
    discover_s: float = Field(86_400.0, gt=0, description="how often classes of prompts are learned anew")

    zone: str = Field("WORLD", min_length=1, description="grid zone of this process's machine")
    zones: tuple[str, ...] = Field(
        (), description="all zones that have workers, the default one first; unset: `SPROUT_ZONE` alone"
    )
    transfer_kwh_per_gb: float = Field(
        0.06,
        ge=0,
        description="energy to move data to another zone; 0.06 is Aslan et al.'s for 2015, an upper bound by now",
    )
    intensity_provider: Literal["static", "trace", "electricity_maps", "watttime", "uk"] = Field(
        "static", description="`static`, `trace`, `electricity_maps`, `watttime` or `uk`: source of carbon intensity"
    )
    electricity_maps_token: SecretStr | None = Field(None, description="auth token of Electricity Maps")
    watttime_user: str | None = Field(None, description="user of WattTime")
    watttime_password: SecretStr | None = Field(None, description="password of WattTime")
    intensity_url: str | None = Field(None, description="base URL of the provider; unset: its own")
    static_intensity: float = Field(
        480.0,
        ge=0,
        lt=10_000,
        description="gCO2eq/kWh; 480 is the world's 2023 mean (Ember, Global Electricity Review 2024)",
    )
    trace_file: Path | None = Field(None, description="CSV of a recorded series")
    trace_repeats: bool = Field(False, description="repeat the trace day by day for ever, for demonstrations")
    intensity_basis: Basis | None = Field(
        None, description="lifecycle-average, direct-average or direct-marginal; unset: what the provider gives"
    )

    meter: Literal["auto", "nvml", "rapl", "model"] = Field(
        "auto", description="NVML on a GPU, RAPL on a CPU where readable, else the power model"
    )
    hardware: Literal["a100", "h100", "h200", "l40s", "cpu-server"] | None = Field(
        None, description="the kind of each device, for the next four; unset: the GPU of this machine, else cpu-server"
    )
    idle_w: float | None = Field(None, ge=0, description="power model: watts of an idle device; unset: `hardware`'s")
    busy_w: float | None = Field(None, ge=0, description="power model: watts of a busy device; unset: `hardware`'s")
    embodied_g: float | None = Field(None, ge=0, description="gCO2eq to make one device; unset: `hardware`'s")
    lifetime_s: float | None = Field(None, gt=0, description="lifetime of a device; unset: `hardware`'s")
    pue: float = Field(1.0, ge=1, description="power usage effectiveness of the site")

    clock_speed: float = Field(1.0, gt=0, description="rehearsals: how many times as fast as real time passes")
    clock_start: datetime | None = Field(None, description="rehearsals: the real moment from which it does")

    shard_size: int = Field(256, gt=0, description="requests in a shard")
    shards_in_flight: int = Field(
        4, gt=0, description="shards a generation worker runs at once, or more if its engine is large"
    )
    lease_s: float = Field(60.0, gt=0, description="a shard whose worker was silent for this long is run again")
    tick_s: float = Field(10.0, gt=0, description="how often lost work is looked for")
    resend_s: float = Field(60.0, gt=0, description="a task not started after this long is sent again")

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, values: dict[str, object]) -> dict[str, object]:
        """A process that does not say where it is is in the default zone."""
        match values:
            case {"zones": [home, *_]} if "zone" not in values:
                return {**values, "zone": home}
        return values

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        texts = (self.directives, *self.workload_directives.values())
        if any(not levels or levels[0] for levels in texts):
            raise ValueError("the first directive is L0 and must be the empty text")
        if any(len(levels) != len(self.directives) for levels in texts):
            raise ValueError("every workload needs as many directive texts as SPROUT_DIRECTIVES has")
        if self.engine == "openai" and not self.engine_url:
            raise ValueError("SPROUT_ENGINE=openai needs SPROUT_ENGINE_URL, such as http://host:8000/v1")
        if self.intensity_provider == "trace" and not self.trace_file:
            raise ValueError("SPROUT_INTENSITY_PROVIDER=trace needs SPROUT_TRACE_FILE")
        if self.idle_w is not None and self.busy_w is not None and self.busy_w < self.idle_w:
            raise ValueError("SPROUT_BUSY_W must not be below SPROUT_IDLE_W")
        return self

    @model_validator(mode="after")
    def _grid_agrees(self) -> Settings:
        if self.zones and self.zone not in self.zones:
            raise ValueError(f"SPROUT_ZONE={self.zone} is not among SPROUT_ZONES: {', '.join(self.zones)}")
        if len(set(self.zones)) < len(self.zones):
            raise ValueError("SPROUT_ZONES names each zone once")
        for zone in self.all_zones:
            if not re.fullmatch(ZONE_NAME, zone) or zone == ANY_ZONE:
                raise ValueError(f"{zone!r} is no name of a zone: use letters, digits, '-', '_' and '.', and not 'any'")
        if self.intensity_provider == "electricity_maps" and not self.electricity_maps_token:
            raise ValueError("SPROUT_INTENSITY_PROVIDER=electricity_maps needs SPROUT_ELECTRICITY_MAPS_TOKEN")
        if self.intensity_provider == "watttime" and not (self.watttime_user and self.watttime_password):
            raise ValueError("SPROUT_INTENSITY_PROVIDER=watttime needs SPROUT_WATTTIME_USER and _PASSWORD")
        offered = BASES[self.intensity_provider]
        if self.intensity_basis and self.intensity_basis not in offered:
            raise ValueError(
                f"SPROUT_INTENSITY_PROVIDER={self.intensity_provider} gives {' or '.join(offered)} figures, not "
                f"{self.intensity_basis}: change SPROUT_INTENSITY_BASIS, or leave it out"
            )
        if (self.clock_speed == 1) != (self.clock_start is None):
            raise ValueError("SPROUT_CLOCK_SPEED and SPROUT_CLOCK_START go together")
        if self.clock_start and self.clock_start.utcoffset() != timedelta(0):
            raise ValueError("SPROUT_CLOCK_START is a moment in UTC, such as 2026-03-02T12:00:00Z")
        return self

    @property
    def basis(self) -> Basis:
        """The accounting basis of all figures."""
        return self.intensity_basis or BASES[self.intensity_provider][0]

    @property
    def lease(self) -> timedelta:
        """How long a silent worker keeps a shard, by the context's clock: as many real seconds in a rehearsal too."""
        return timedelta(seconds=self.lease_s * self.clock_speed)

    @property
    def tick(self) -> timedelta:
        """Between two looks, by the context's clock."""
        return timedelta(seconds=self.tick_s * self.clock_speed)

    @property
    def resend(self) -> timedelta:
        """After which a task that was not started is sent again, by the context's clock."""
        return timedelta(seconds=self.resend_s * self.clock_speed)

    @property
    def places(self) -> tuple[str, ...]:
        """The zones as shards and queues name them: an empty name for the default one."""
        return ("", *self.all_zones[1:])

    @property
    def place(self) -> str:
        """Where this process is."""
        return self.place_of(self.zone)

    def place_of(self, zone: str) -> str:
        """A zone as shards and queues name it."""
        return "" if zone == self.all_zones[0] else zone

    @property
    def all_zones(self) -> tuple[str, ...]:
        """Every zone that has workers, the default one first."""
        return self.zones or (self.zone,)

    @property
    def served_name(self) -> str:
        """The model name that clients use."""
        if self.engine == "openai" and not self.model_stated:
            return self.model_name or "remote"
        return self.model_name or Path(self.model).name

    @property
    def home_model(self) -> str:
        """The installation's own model."""
        return self.default_model or self.served_name

    def queue_model(self, name: str) -> str:
        """A model as queues name it: an empty name for the installation's own one."""
        return "" if name == self.home_model else name

    @property
    def model_stated(self) -> bool:
        """Whether SPROUT_MODEL was set, rather than left at the bundled model."""
        return "model" in self.model_fields_set

    @property
    def levels(self) -> int:
        return len(self.directives)


@cache
def load() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: names each wrong variable.
    """
    try:
        return Settings()
    except SettingsError as exc:
        found = re.search(r'field "(\w+)"', str(exc))
        variable = f"SPROUT_{found[1].upper()}" if found else "a variable"
        raise ConfigurationError(f'The settings cannot be used: {variable} is not JSON, such as ["a", "b"].') from exc
    except ValidationError as exc:
        faults = "; ".join(
            (f"SPROUT_{'_'.join(map(str, error['loc'])).upper()}: " if error["loc"] else "")
            + error["msg"].removeprefix("Value error, ")
            for error in exc.errors()
        )
        raise ConfigurationError(f"The settings cannot be used: {faults}.") from exc

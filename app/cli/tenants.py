"""`sprout tenants`: who may use this installation, and how much."""

from __future__ import annotations

from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.operating import operator
from app.domain.tenant import Limits
from app.services import tenants as service
from app.services.tenants import Standing

UNLIMITED = "none"


class _Limit(click.ParamType[Any]):
    """A number from 0 on, or `none`."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind
        self.name = "NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == UNLIMITED:
            return UNLIMITED
        try:
            return self._kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor '{UNLIMITED}'.", param, ctx)


_WHAT = {
    "queued_requests": (int, "Most requests that wait for an answer."),
    "batches_per_hour": (int, "Most batches created in an hour."),
    "tokens_per_day": (int, "Most tokens of prompts and answers in 24 hours."),
    "carbon_g_per_month": (float, "Most gCO2eq in a calendar month."),
}


def _limits(command: Any) -> Any:
    """The options of all limits, and of the weight."""
    for name, (kind, what) in reversed(_WHAT.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, type=_Limit(kind), help=f"{what} '{UNLIMITED}' lifts it.")(command)
    return click.option("--weight", type=float, help="Share of the devices beside other tenants' (1).")(command)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The limits that were stated, None for no limit."""
    return {name: None if value == UNLIMITED else value for name, value in values.items() if value is not None}


@click.group()
def tenants() -> None:
    """Tenants: they see nothing of each other, share the devices by weight, and have limits."""


@tenants.command()
@click.argument("name")
@_limits
def add(name: str, weight: float | None, **limits: Any) -> None:
    """Make a tenant. `sprout keys create NAME` gives it a key."""
    with operator() as (database, clock):
        service.add(database, clock, name, weight=1.0 if weight is None else weight, allowed=Limits(**_given(limits)))
    click.echo(f"Tenant {name} is there; `sprout keys create {name}` makes a key for it.")


@tenants.command("list")
def list_tenants() -> None:
    """Show all tenants, and what they have used of what they may."""
    with operator() as (database, clock):
        found = service.listed(database, clock)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("tenant", "weight", "requests queued", "batches an hour", "tokens a day", "gCO2eq a month"):
        table.add_column(heading, overflow="fold")
    for each in found:
        table.add_row(*_cells(each))
    Console().print(table)
    for each in found:
        if each.tenant.hold:
            click.echo(f"{each.tenant.name} is held: {each.tenant.hold}")


def _cells(each: Standing) -> list[str]:
    limits = vars(each.tenant.limits)
    used = (
        _number(getattr(each, name)) + (f" of {_number(limits[name])}" if limits[name] is not None else "")
        for name in _WHAT
    )
    return [each.tenant.name, f"{each.tenant.weight:g}", *used]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


@tenants.command()
@click.argument("name")
@_limits
def limits(name: str, weight: float | None, **limits: Any) -> None:
    """Change what a tenant may use. What is held by a limit goes on at once when it is raised."""
    changes = _given(limits)
    if weight is None and not changes:
        raise click.UsageError("Name a limit to change, or the weight; `sprout tenants list` shows them.")
    with operator() as (database, clock):
        service.change(database, clock, name, weight=weight, changes=changes)
    click.echo(f"Tenant {name} is changed.")


@tenants.command()
@click.argument("name")
def disable(name: str) -> None:
    """Refuse a tenant's keys, and hold what it has queued."""
    with operator() as (database, clock):
        service.disable(database, clock, name)
    click.echo(f"Tenant {name} is disabled; `sprout tenants enable {name}` undoes that.")


@tenants.command()
@click.argument("name")
def enable(name: str) -> None:
    """Undo `disable`."""
    with operator() as (database, clock):
        service.disable(database, clock, name, is_disabled=False)
    click.echo(f"Tenant {name} is enabled.")

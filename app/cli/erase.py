"""`sprout erase` and `sprout batch erase`, and `sprout retention`: what is kept of people's texts."""

from __future__ import annotations

from contextlib import closing

import click

from app.cli.stack import database_url, running
from app.composition import build_context
from app.domain.errors import InvalidInput
from app.domain.retention import Kept
from app.services import erasure, retention
from app.services.context import Context
from app.settings import load

NO_BROKER = "memory://"
"""Nothing is rung for."""
UNTIL_ERASED = "erased"
BY_SETTINGS = "default"


def _context() -> Context:
    settings = load()
    # An operator's commands work on the database itself: the API shows a tenant nothing of others.
    return build_context(
        type(settings)(database_url=database_url(settings), broker_url=settings.broker_url or NO_BROKER)
    )


@click.command()
@click.option("--tenant", required=True, help="Whose prompts, answers, files and figures go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(tenant: str, yes: bool) -> None:
    """Erase all that is of a tenant, running batches too.

    Its keys go first, so that nothing more comes in. Interrupted, the same command goes on.
    """
    if not yes:
        click.confirm(f"Erase every batch, file and figure of the tenant {tenant}? Nothing brings it back", abort=True)
    context = _context()
    with closing(context.database):
        erasure.erase_tenant(context, tenant)
    click.echo(f"Nothing of the tenant {tenant} is left. docs/privacy.md says what erasing does not reach.")


@click.command("erase")
@click.argument("batch_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase_batch(batch_id: str, yes: bool) -> None:
    """Erase a batch: prompts, answers, files, samples, verdicts and figures. One that runs is stopped."""
    if not yes:
        click.confirm(f"Erase batch {batch_id} and all that is of it? Nothing brings it back", abort=True)
    with running(load()) as client:
        found = client.erase(batch_id)
    click.echo(f"Batch {batch_id} is erased{'' if found['complete'] else '; the last of it goes within minutes'}.")
    if found["kept_input"]:
        click.echo(found["kept_input"])


@click.command("retention")
@click.option("--tenant", required=True, help="Whose texts.")
@click.argument("times", nargs=-1, metavar="[KIND=SECONDS]...")
def show_retention(tenant: str, times: tuple[str, ...]) -> None:
    """Show how long each kind of text is kept of a tenant, or set it: prompts=3600, or `erased` for until it is erased,
    or `default` for what the settings say."""
    stated = [_parsed(text) for text in times]
    context = _context()
    with closing(context.database):
        for kind, keep in stated:
            if keep == BY_SETTINGS:
                retention.reset_time(context, tenant, kind)
            else:
                retention.set_time(context, tenant, kind, None if keep == UNTIL_ERASED else float(keep))
        for kind, keep_s in retention.times(context, tenant).items():
            click.echo(f"{kind:<9} {'until erased' if keep_s is None else f'{keep_s:.12g} s'}")


def _parsed(text: str) -> tuple[Kept, str]:
    name, _, keep = text.partition("=")
    try:
        if keep not in (UNTIL_ERASED, BY_SETTINGS):
            float(keep)
        return Kept(name), keep
    except ValueError as exc:
        raise InvalidInput(
            f"{text!r} is no time of a kind: write one of {', '.join(Kept)}, then = and seconds, '{UNTIL_ERASED}' or "
            f"'{BY_SETTINGS}'."
        ) from exc

"""`sprout vote`: pairs of answers in the terminal, one after another, and which one is better."""

from __future__ import annotations

import getpass
import unicodedata
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console

from app.cli.client import Client
from app.cli.stack import running
from app.settings import load

CHOICES = {"1": "first", "2": "second", "0": "neither"}
QUIT = "q"


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as exc:
        raise click.UsageError("This user has no login name: say who votes with --voter.") from exc


@click.command()
@click.option("--voter", default=_login, show_default="login name", help="Who votes: everybody votes once on a pair.")
def vote(voter: str) -> None:
    """Compare answers without knowing which one followed a directive. Votes count as evidence of quality."""
    with running(load()) as client:
        number = _ask(client, Console(), voter)
    click.echo(f"{number} {'vote' if number == 1 else 'votes'} recorded.")


def _ask(client: Client, console: Console, voter: str) -> int:
    """Ask until nothing is left or the voter has enough; how many votes were recorded."""
    number = 0
    while pair := client.next_pair(voter):
        _show(console, pair)
        said = click.prompt(
            "Which answer is better? 1, 2, 0 for no difference, q to stop",
            type=click.Choice([*CHOICES, QUIT]),
            show_choices=False,
        )
        if said == QUIT:
            return number
        client.vote(voter, pair["id"], CHOICES[said])
        number += 1
    click.echo("Nothing is left to vote on.")
    return number


def _show(console: Console, pair: Mapping[str, Any]) -> None:
    for title, text in (("Prompt", pair["prompt"]), ("Answer 1", pair["first"]), ("Answer 2", pair["second"])):
        console.rule(title, align="left")
        console.print(_printable(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
    console.rule()


def _printable(text: str) -> str:
    """Without what would steer the terminal: the text is a stranger's."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs"))

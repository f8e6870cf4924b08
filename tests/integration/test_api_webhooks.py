"""Webhooks over HTTP and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import webhooks as cli
from app.cli.client import Client
from app.domain.errors import InvalidInput
from app.services import webhooks
from tests.support.api import Api, error_of
from tests.support.services import Desk
from tests.support.web import Answer, Asked, serving

WEBHOOKS = "/sprout/v1/webhooks"
URL = "https://hooks.example.com/in?token=hush"


def test_the_secret_is_shown_when_it_is_made_and_never_again(api: Api) -> None:
    added = api.post(WEBHOOKS, json={"url": URL, "event_types": ["batch.failed"], "name": "mine"})
    secret = added.pop("signing_secret")
    assert secret.startswith("whsec_")
    assert (added["object"], added["name"], added["event_types"]) == ("webhook_endpoint", "mine", ["batch.failed"])
    (listed,) = api.get(WEBHOOKS)["data"]
    health = listed.pop("sprout")
    assert listed == added
    assert health == {
        "last_success_at": None,
        "last_failure_at": None,
        "last_failure": None,
        "waiting": 0,
        "given_up": 0,
        "disabled_at": None,
    }
    rotated = api.post(f"{WEBHOOKS}/{added['id']}/rotate_secret")
    assert rotated["signing_secret"] != secret
    assert secret not in api("GET", WEBHOOKS).text + api("GET", "/openapi.json").text
    deleted = api("DELETE", f"{WEBHOOKS}/{added['id']}").json()
    assert deleted == {"id": added["id"], "object": "webhook_endpoint.deleted", "deleted": True}
    assert api.get(WEBHOOKS) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    "body",
    [
        *(
            {},
            {"url": 1},
            {"url": "http://hush.example/"},
            {"url": "https://10.0.0.1/hush"},
            {"url": "https://hush\0/"},
        ),
        {"url": URL, "event_types": []},
        {"url": URL, "event_types": ["batch.hush" * 1000]},
        {"url": URL, "name": "n\0"},
        {"url": URL, "name": "n" * 101},
    ],
)
def test_what_cannot_be_is_refused(api: Api, body: Mapping[str, Any]) -> None:
    assert len(error_of(api("POST", WEBHOOKS, json=body), 400)["message"]) < 400
    assert api.get(WEBHOOKS)["data"] == []


def test_others_are_not_there(api: Api, desk: Desk) -> None:
    theirs = webhooks.add(desk.context, "another", url=URL, event_types=["batch.failed"], name="")
    assert api.get(WEBHOOKS)["data"] == []
    for webhook_id in (theirs.id, "operator", "none"):
        message = f"There is no webhook '{webhook_id}'."
        assert error_of(api("DELETE", f"{WEBHOOKS}/{webhook_id}"), 404)["message"] == message
        assert error_of(api("POST", f"{WEBHOOKS}/{webhook_id}/rotate_secret"), 404)["message"] == message


@pytest.fixture
def sprout(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """What `sprout webhooks ...` prints."""

    def bridge(asked: Asked) -> Answer:
        answered = api(asked.method, asked.path, content=asked.body, headers={"content-type": "application/json"})
        return Answer(status=answered.status_code, content=answered.content)

    with serving(bridge) as url:
        monkeypatch.setattr(cli, "running", lambda _: Client(url, key=None))

        def run(*arguments: str) -> str:
            found = CliRunner().invoke(cli.webhooks, arguments, catch_exceptions=False)
            assert found.exit_code == 0, found.output
            return found.output

        yield run


def test_the_command_line_adds_shows_rotates_and_removes(api: Api, desk: Desk, sprout: Callable[..., str]) -> None:
    assert "There is no webhook yet" in sprout("list")
    added = sprout("add", URL, "--event", "batch.failed", "--name", "[bold]mine")
    (endpoint,) = api.get(WEBHOOKS)["data"]
    assert endpoint["id"] in added
    assert endpoint["event_types"] == ["batch.failed"]
    secret = added.split()[-1]
    assert secret.startswith("whsec_")
    rotated = sprout("rotate", endpoint["id"])
    assert secret not in rotated
    desk.rows(
        "UPDATE webhook_endpoints SET fault = 'it answered 500', failed_at = '2026-03-02 12:00+00', given_up = 3,"
        " disabled_at = '2026-03-03 12:00+00' RETURNING id"
    )
    shown = sprout("list")
    for part in ("2026-03-02 12:00 UTC: it answered 500", "3 given up", "told nothing since 2026-03-03", "[bold]mine"):
        assert part in shown
    assert rotated.split()[-1] not in shown
    assert json.loads(sprout("list", "--json"))[0]["id"] == endpoint["id"]
    with pytest.raises(InvalidInput, match="There is no webhook"):
        sprout("remove", "we_none")
    sprout("remove", endpoint["id"])
    assert api.get(WEBHOOKS)["data"] == []

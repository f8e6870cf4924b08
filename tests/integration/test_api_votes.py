"""Votes over HTTP, and the page that casts them."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import text

from app.store.database import Database
from tests.support.api import LOCAL, Api, error_of
from tests.support.engine import EchoEngine
from tests.support.rounds import ended, serve
from tests.support.services import Desk, Desks

SCRIPT = '<script>alert("x")</script><img src=x onerror=alert(1)> number'
VOTES, NEXT = "/sprout/v1/votes", "/sprout/v1/votes/next"


def answered(desk: Desk) -> Api:
    """The API of an installation on which there are pairs to vote on."""
    worker = desk.worker(EchoEngine())
    serve(desk, worker, text=SCRIPT)
    ended(desk, worker, [])
    return Api(desk.context)


@pytest.fixture
def people(desks: Desks) -> Api:
    return answered(desks.desk(judge="human", evaluation_budget=1.0, kept_at_l0=0.1))


def a_pair(api: Api, voter: str = "ada", **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.get(NEXT, params={"voter": voter}, **arguments)
    assert set(found) == {"pair"}
    pair: dict[str, Any] = found["pair"]
    return pair


def ballot(shown: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"voter": "ada", "pair": shown["id"], "choice": "first", **changes}


def test_a_pair_holds_texts_and_nothing_that_gives_them_away(people: Api) -> None:
    pair = a_pair(people)
    assert set(pair) == {"id", "prompt", "first", "second"}
    assert re.fullmatch("pair_[0-9a-f]{64}", pair["id"])


def test_markup_arrives_as_the_text_it_is(people: Api) -> None:
    response = people("GET", NEXT, params={"voter": "ada"})
    assert response.headers["content-type"] == "application/json"
    pair = response.json()["pair"]
    for name in ("prompt", "first", "second"):
        assert pair[name].startswith('<script>alert("x")</script><img src=x onerror=alert(1)> number')


def test_a_prompt_may_hold_what_cannot_be_sent(people: Api, emptied: Database) -> None:
    """JSON can spell NUL and halves of surrogate pairs."""
    body = r'{"messages": [{"role": "user", "content": "a\u0000b\ud800c"}]}'
    with emptied.transaction() as connection:
        connection.execute(text("UPDATE evaluation_samples SET body = :body"), {"body": body})
    assert a_pair(people)["prompt"] == "a?b?c"


def test_an_answer_to_a_vote_says_no_more_than_the_vote(people: Api) -> None:
    pair = a_pair(people)
    assert people.post(VOTES, json=ballot(pair)) == {"pair": pair["id"], "choice": "first"}
    assert a_pair(people)["id"] != pair["id"]


def test_votes_reach_the_report(people: Api) -> None:
    number = 0
    while pair := a_pair(people):
        people.post(VOTES, json=ballot(pair, choice="neither"))
        number += 1
    levels = people.get("/sprout/v1/evaluations")["levels"]
    assert sum(each["verdicts"] for each in levels) == pytest.approx(number)
    assert {each["win_rate"] for each in levels} == {0.5}


def test_what_is_no_vote(people: Api) -> None:
    pair = a_pair(people)
    for changes in ({"choice": "third"}, {"voter": ""}, {"voter": "x" * 65}, {"voter": None}, {"voter": "\ud800"}):
        content = json.dumps(ballot(pair, **changes)).encode()
        error_of(people("POST", VOTES, content=content, headers={"Content-Type": "application/json"}), 400)
    assert error_of(people("GET", NEXT, params={"voter": " "}), 400)["param"] == "voter"
    error_of(people("GET", NEXT), 400)
    error_of(people("POST", VOTES, json=ballot(pair, pair="pair_1")), 404)
    error_of(people("POST", VOTES, json=ballot(pair, voter="bob")), 404)
    people.post(VOTES, json=ballot(pair))
    assert "already" in error_of(people("POST", VOTES, json=ballot(pair)), 400)["message"]


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "https://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://127.0.0.1:8001",
        "http://localhost:8000",
        "http://127.0.0.1:8000.evil.example",
    ],
)
def test_no_other_page_may_vote(people: Api, origin: str) -> None:
    pair = a_pair(people)
    error_of(people("POST", VOTES, json=ballot(pair), headers={"Origin": origin}), 403)
    assert a_pair(people) == pair


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost"])
def test_our_own_page_may_vote(people: Api, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    pair = a_pair(people)
    people.post(VOTES, json=ballot(pair), headers=headers)
    assert a_pair(people) != pair, "it has counted"


def test_a_page_under_a_name_that_it_made_point_here_may_not(people: Api) -> None:
    headers = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
    error_of(people("POST", VOTES, json=ballot(a_pair(people)), headers=headers), 403)
    error_of(people("GET", "/vote", headers={"Host": "evil.example:8000"}), 403)


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/files", "/sprout/v1/quote", "/sprout/v1/votes/next"])
def test_our_own_page_may_do_nothing_else(people: Api, path: str) -> None:
    error_of(people("POST", path, json={}, headers={"Origin": LOCAL}), 403)


def test_with_a_key_the_page_is_free_and_votes_are_not(desks: Desks) -> None:
    api = answered(desks.desk(judge="human", evaluation_budget=1.0, kept_at_l0=0.1, api_key="sésame"))
    there = {"base_url": "http://gpu.example"}
    assert api("GET", "/vote", **there).status_code == 200
    error_of(api("GET", NEXT, params={"voter": "ada"}, **there), 401)
    error_of(api("POST", VOTES, json={}, **there), 401)
    headers = {"Authorization": "Bearer sésame".encode(), "Origin": "http://gpu.example"}
    pair = a_pair(api, headers=headers, **there)
    api.post(VOTES, json=ballot(pair), headers=headers, **there)


@pytest.fixture
def page(api: Api) -> Any:
    response = api("GET", "/vote")
    assert response.status_code == 200
    return response


def test_the_page_runs_its_own_script_and_nothing_else(page: Any) -> None:
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    for element in ("script", "style"):
        (own,) = re.findall(rf"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
        digest = base64.b64encode(sha256(own.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_page_needs_nothing_from_elsewhere(page: Any) -> None:
    assert not re.search(r"(?i)https?:|//\w|\bsrc\s*=|\bhref\s*=|@import|url\(", page.text)


def test_the_page_has_no_inline_handlers_and_makes_no_html(page: Any) -> None:
    assert not re.search(r"(?i)<[^>]*\s(on\w+|style)\s*=", page.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|DOMParser|srcdoc", page.text)

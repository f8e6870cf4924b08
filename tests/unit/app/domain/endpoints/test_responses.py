from __future__ import annotations

import copy
from typing import Any

import pytest

from app.domain.directive import Placement
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import InvalidInput
from app.domain.judging import conversation

RESPONSES = ENDPOINTS["/v1/responses"]
TEXT = "Always answer briefly"
USER = {"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}
SYSTEM = {"role": "developer", "content": "Be kind."}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So."}]}
CALL = {"type": "function_call", "call_id": "c", "name": "search", "arguments": '{"q": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "Found it"}
THOUGHT = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"input": "Why?"},
        {"input": [USER], "instructions": "Be kind."},
        {"input": [SYSTEM, USER, SAID, THOUGHT, CALL, RESULT, USER]},
        {"input": "Why?", "store": False, "background": False, "previous_response_id": None, "conversation": None},
        {"input": "Why?", "tools": [{"type": "function", "name": "search"}, {"type": "custom", "name": "x"}]},
        {"input": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER]},
    ],
)
def test_what_a_batch_answers(body: dict[str, Any]) -> None:
    RESPONSES.check(body)
    assert RESPONSES.takes_directive(body)
    assert RESPONSES.sequences(body) == 1


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("background", True, "runs in the background by itself: leave it out"),
        ("conversation", "conv_1", "put its messages into 'input'"),
        ("conversation", {"id": "conv_1"}, "put its messages into 'input'"),
        ("previous_response_id", "resp_1", "put the earlier messages into 'input'"),
        ("prompt", {"id": "pmpt_1"}, "write the text into 'instructions' and 'input'"),
        ("store", True, "cannot be asked for by its id: leave it out"),
    ],
)
def test_what_no_batch_can_do_is_refused_with_the_remedy(name: str, value: object, remedy: str) -> None:
    with pytest.raises(InvalidInput, match=f"'body.{name}' cannot be used in a batch") as raised:
        RESPONSES.check({"input": "Why?", name: value})
    assert remedy in raised.value.message
    assert raised.value.param == f"body.{name}"


@pytest.mark.parametrize(
    "kind", ["web_search", "file_search", "code_interpreter", "mcp", "image_generation", None, 7, ["function"]]
)
def test_hosted_tools_are_refused(kind: object) -> None:
    tools = [{"type": "function", "name": "search"}, {"type": kind}]
    with pytest.raises(InvalidInput, match="a batch has no hosted tools") as raised:
        RESPONSES.check({"input": "Why?", "tools": tools})
    assert raised.value.param == "body.tools[1].type"


@pytest.mark.parametrize(
    ("body", "fault", "param"),
    [
        ({}, "must be a text, or a list of at least one item", "body.input"),
        ({"input": []}, "must be a text, or a list of at least one item", "body.input"),
        ({"input": ["Why?"]}, "must be a text, or a list of at least one item", "body.input"),
        ({"input": [[1, 2]]}, "must be a text, or a list of at least one item", "body.input"),
        ({"input": [{}]}, "must have a role and a content, or a type", "body.input[0]"),
        ({"input": [{"role": 7, "content": "x"}]}, "must be a text such as user", "body.input[0].role"),
        ({"input": [{"role": "user"}]}, "must be a text or a list of text parts", "body.input[0].content"),
        ({"input": [{"role": "user", "content": []}]}, "must be a text or a list", "body.input[0].content"),
        ({"input": [USER, {"type": "item_reference", "id": "x"}]}, "none is kept", "body.input[1]"),
        ({"input": "Why?", "instructions": ["x"]}, "must be a text", "body.instructions"),
        ({"input": "Why?", "instructions": []}, "must be a text", "body.instructions"),
        ({"input": "Why?", "tools": "all"}, "must be a list of objects", "body.tools"),
        ({"input": "Why?", "tools": ["all"]}, "must be a list of objects", "body.tools"),
    ],
)
def test_what_cannot_be_read(body: dict[str, Any], fault: str, param: str) -> None:
    with pytest.raises(InvalidInput, match=fault) as raised:
        RESPONSES.check(body)
    assert raised.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "data:..."},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "input_text"},
        {"type": ["input_text"], "text": "x"},
        {"text": "x"},
        {},
    ],
)
def test_only_text_is_taken(part: dict[str, Any]) -> None:
    for item in ({"role": "user", "content": [part]}, {"type": "function_call_output", "output": [part]}):
        with pytest.raises(InvalidInput, match="images, audio and files are not supported") as raised:
            RESPONSES.check({"input": [item]})
        assert raised.value.param == "body.input[0]"


@pytest.mark.parametrize(
    ("body", "placed"),
    [
        ({"input": "Why?"}, {"input": "Why?", "instructions": TEXT}),
        ({"input": "Why?", "instructions": "A."}, {"input": "Why?", "instructions": f"A.\n\n{TEXT}"}),
        ({"input": [SYSTEM, USER], "instructions": "A."}, {"input": [SYSTEM, USER], "instructions": f"A.\n\n{TEXT}"}),
        ({"input": [SYSTEM, USER]}, {"input": [{**SYSTEM, "content": f"Be kind.\n\n{TEXT}"}, USER]}),
    ],
)
def test_at_the_end_of_the_instructions_or_of_the_only_system_message(
    body: dict[str, Any], placed: dict[str, Any]
) -> None:
    before = copy.deepcopy(body)
    assert RESPONSES.place(body, TEXT, Placement.SYSTEM) == placed
    assert body == before


@pytest.mark.parametrize(
    ("body", "placed"),
    [
        ({"input": "Why?"}, f"Why?\n\n{TEXT}"),
        ({"input": [USER, SAID, CALL, RESULT]},
         [{**USER, "content": [*USER["content"], {"type": "input_text", "text": TEXT}]}, SAID, CALL, RESULT]),
        ({"input": [SAID]}, [SAID, {"role": "user", "content": TEXT}]),
    ],
)  # fmt: skip
def test_at_the_end_of_the_last_user_item(body: dict[str, Any], placed: object) -> None:
    before = copy.deepcopy(body)
    assert RESPONSES.place(body, TEXT, Placement.USER) == {"input": placed}
    assert body == before


def test_it_reads_as_a_conversation() -> None:
    body = {"instructions": "Be kind.", "input": [USER, CALL, RESULT, THOUGHT, SAID]}
    assert conversation(RESPONSES.messages(body)) == (
        'system: Be kind.\n\nuser: Why?\n\nassistant: search\n{"q": 1}\n\ntool: Found it\n\nassistant: Hm\n\n'
        "assistant: So."
    )
    assert conversation(RESPONSES.messages({"input": "Why?"})) == "Why?"


def test_a_chat_is_counted_through_the_template_and_calls_of_tools_by_their_text() -> None:
    assert RESPONSES.prompts({"input": "Why?"}) == [[{"role": "user", "content": "Why?"}]]
    assert RESPONSES.prompts({"input": [USER, CALL]}) == ['Why?\nsearch\n{"q": 1}']


@pytest.mark.parametrize("body", [{}, {"text": {}}, {"text": {"format": {"type": "text"}}}, {"text": 7}])
def test_no_exact_form(body: dict[str, Any]) -> None:
    assert not RESPONSES.wants_exact_form(body)


@pytest.mark.parametrize("body", [{"text": {"format": {"type": "json_schema"}}}, {"tools": [{"type": "function"}]}])
def test_an_exact_form(body: dict[str, Any]) -> None:
    assert RESPONSES.wants_exact_form(body)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"output": [THOUGHT, CALL, SAID]}, "So."),
        ({"output": [{**SAID, "content": [*SAID["content"], *SAID["content"]]}]}, "So.\nSo."),
        ({"output": [CALL]}, ""),
        ({"output": None}, ""),
        ({}, ""),
    ],
)
def test_an_answer_is_what_its_messages_say(response: dict[str, Any], text: str) -> None:
    assert RESPONSES.answer(response) == text

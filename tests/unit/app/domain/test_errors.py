from __future__ import annotations

import inspect

import pytest

from app.domain import errors
from app.domain.errors import InvalidInput, InvalidRequestLine, LimitExceeded, SproutError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not SproutError]


@pytest.mark.parametrize("kind", TREE)
def test_the_drawn_tree_is_the_real_one(kind: type[SproutError]) -> None:
    assert errors.__doc__ is not None
    names = [part.strip("│├└─ ").split(" ")[0] for part in errors.__doc__.splitlines()]
    row = names.index(kind.__name__)
    indents = [len(part) - len(part.lstrip("│├└─ ")) for part in errors.__doc__.splitlines()]
    parent = next(names[above] for above in range(row - 1, -1, -1) if indents[above] < indents[row])
    assert kind.__bases__[0].__name__ == parent


NEED_MORE = (InvalidRequestLine, LimitExceeded)
"""What they say depends on the line, or on the limit."""


@pytest.mark.parametrize("kind", [kind for kind in (*TREE, SproutError) if kind not in NEED_MORE])
def test_an_error_without_a_message_says_what_it_is(kind: type[SproutError]) -> None:
    assert kind().message.endswith(".")
    assert kind("Another sentence.").message == str(kind("Another sentence.")) == "Another sentence."


def test_invalid_input_names_parameter_and_code() -> None:
    error = InvalidInput("No.", param="model", code="model_not_found")
    assert (error.param, error.code) == ("model", "model_not_found")

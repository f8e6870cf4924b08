"""Whether a chat template prints what messages say without looking at it.

Then all that it makes of messages with the same roles differs only in the contents themselves, and rendering some of
them tells how long all others are.
"""

from __future__ import annotations

from enum import IntEnum

from jinja2 import nodes

PRINTING_FILTERS = frozenset({"trim"})
"""They pass a text on, or part of it."""
SHAPE_TESTS = frozenset({"defined", "undefined", "none", "string", "mapping", "iterable", "sequence"})
"""They answer the same for every text."""
NEIGHBOURS = frozenset({"previtem", "nextitem"})
"""Of a loop: other messages."""


class Kind(IntEnum):
    """What an expression can hold."""

    PLAIN = 0
    """Nothing of any content."""
    CONTENT = 1
    """The content of a message, and text before and behind it."""
    MESSAGES = 2
    """A message, or several."""


class _Looks(Exception):
    """The template does something with a content that could depend on what it says."""


def is_blind(template: nodes.Template) -> bool:
    """Whether the output for messages of a role and a text each is the same but for the texts, each whole or trimmed.

    A template of which that cannot be seen is taken to look.
    """
    names = {"messages": Kind.MESSAGES}
    try:
        known = -1
        # A loop may use what is only assigned behind it; kinds can only rise.
        while known != sum(names.values()) + len(names):
            known = sum(names.values()) + len(names)
            for statement in template.body:
                _follow(statement, names)
    except _Looks:
        return False
    return True


def _follow(statement: nodes.Node, names: dict[str, Kind]) -> None:
    match statement:
        case nodes.Output():
            for node in statement.nodes:
                _require(_kind(node, names), at_most=Kind.CONTENT)
        case nodes.Assign(target=nodes.Name(name=name)):
            names[name] = max(names.get(name, Kind.PLAIN), _kind(statement.node, names))
        case nodes.For(target=nodes.Name(name=name)):
            over = _kind(statement.iter, names)
            if over is Kind.CONTENT:
                raise _Looks
            names[name] = max(names.get(name, Kind.PLAIN), over)
            _follow_all([statement.test, *statement.body, *statement.else_], names)
        case nodes.If():
            _follow_all([statement.test, *statement.body, *statement.elif_, *statement.else_], names)
        case nodes.Expr():
            _require(_kind(statement, names), at_most=Kind.PLAIN)
        case nodes.Macro() | nodes.CallBlock() | nodes.FilterBlock() | nodes.AssignBlock():
            raise _Looks  # what they print can be looked at
        case nodes.EvalContextModifier():
            raise _Looks  # autoescaping makes some characters longer
        case _:
            _follow_all(list(statement.iter_child_nodes()), names)


def _follow_all(statements: list[nodes.Node | None], names: dict[str, Kind]) -> None:
    for statement in statements:
        if statement is not None:
            _follow(statement, names)


def _kind(node: nodes.Node, names: dict[str, Kind]) -> Kind:
    match node:
        case nodes.Name(name=name):
            return names.get(name, Kind.PLAIN)
        case nodes.Getattr(node=holder, attr=key) | nodes.Getitem(node=holder, arg=nodes.Const(value=key)):
            return _part(_kind(holder, names), key)
        case nodes.Getitem(node=holder, arg=nodes.Slice() as part):
            _require_plain(part, names)
            return _part(_kind(holder, names), 0)
        case nodes.Add() | nodes.CondExpr():
            if isinstance(node, nodes.CondExpr):
                _require(_kind(node.test, names), at_most=Kind.PLAIN)
                operands = [node.expr1, *([node.expr2] if node.expr2 else [])]
            else:
                operands = [node.left, node.right]
            kind = max(_kind(operand, names) for operand in operands)
            return _require(kind, at_most=Kind.CONTENT)
        case nodes.Filter(node=nodes.Expr() as text, name=name, args=[], kwargs=[]) if name in PRINTING_FILTERS:
            return _require(_kind(text, names), at_most=Kind.CONTENT)
        case nodes.Filter(node=nodes.Expr() as counted, name="length", args=[], kwargs=[]):
            if _kind(counted, names) is Kind.CONTENT:
                raise _Looks
            return Kind.PLAIN
        case nodes.Test(node=tested, name=name, args=[]) if name in SHAPE_TESTS:
            _kind(tested, names)
            return Kind.PLAIN
        case _:
            _require_plain(node, names)
            return Kind.PLAIN


def _require_plain(node: nodes.Node, names: dict[str, Kind]) -> None:
    for part in node.iter_child_nodes():
        _require(_kind(part, names), at_most=Kind.PLAIN)


def _part(holder: Kind, key: object) -> Kind:
    """Of what stands under `key`, a name or a number."""
    if holder is Kind.MESSAGES:
        if not isinstance(key, str):
            return Kind.MESSAGES
        if hasattr(dict, key) or hasattr(list, key):  # a method, such as `items`, may give everything
            raise _Looks
        return Kind.CONTENT if key == "content" else Kind.PLAIN
    if holder is Kind.CONTENT:
        raise _Looks
    return Kind.MESSAGES if key in NEIGHBOURS else Kind.PLAIN


def _require(kind: Kind, *, at_most: Kind) -> Kind:
    if kind > at_most:
        raise _Looks
    return kind

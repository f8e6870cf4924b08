from __future__ import annotations

import pytest

from app.model.chat_template import ChatTemplate

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'You are.' }}{% endif %}"
    "{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant' }}{% endif %}"
)
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<h>' + message['role'] + '</h>' + message['content'] | trim + '<e>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
)
ALTERNATING = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ system + message.content if loop.first and system is defined else message.content }}{% endfor %}"
)


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, ALTERNATING, "", "{{ messages | length }}"])
def test_templates_that_print_without_looking(template: str) -> None:
    assert ChatTemplate(template, {}).is_blind


def in_loop(statement: str) -> str:
    return f"{{% for m in messages %}}{statement}{{% endfor %}}"


@pytest.mark.parametrize(
    "template",
    [
        in_loop("{% if m.content %}x{% endif %}"),
        in_loop("{% if m['content'] == 'x' %}x{% endif %}"),
        in_loop("{% if 'x' in m.content %}x{% endif %}"),
        in_loop("{{ 'x' if m.content else 'y' }}"),
        in_loop("{{ m.content | length }}"),
        in_loop("{{ m.content | upper }}"),
        in_loop("{{ m.content | tojson }}"),
        in_loop("{{ m.content | replace('a', 'aaaa') }}"),
        in_loop("{{ m.content * 3 }}"),
        in_loop("{{ m.content ~ 'x' }}"),
        in_loop("{{ m.content.split('</think>')[-1] }}"),
        in_loop("{{ m.content[:3] }}"),
        in_loop("{{ raise_exception(m.content) }}"),
        in_loop("{{ m }}"),
        in_loop("{{ m | tojson }}"),
        in_loop("{{ m[key] }}"),
        in_loop("{% for k, v in m.items() %}{{ v }}{% endfor %}"),
        in_loop("{% set c = 'a' + m.content %}{% if c | length > 9 %}x{% endif %}"),
        in_loop("{% if c %}x{% endif %}{% set c = m.content %}"),
        in_loop("{% set n.c = m.content %}{% if n.c == 'x' %}x{% endif %}"),
        in_loop("{% if loop.previtem is defined and loop.previtem.content == m.role %}x{% endif %}"),
        in_loop("{% if loop.changed(m.content) %}x{% endif %}"),
        in_loop("{% set c %}{{ m.content }}{% endset %}{% if c == 'x' %}x{% endif %}"),
        in_loop("{% for letter in m.content %}x{% endfor %}"),
        in_loop("{% autoescape true %}{{ m.content }}{% endautoescape %}"),
        "{% macro f(m) %}{% if m.content == 'x' %}x{% endif %}{% endmacro %}{{ f(messages[0]) }}",
        "{{ messages }}",
        "{{ messages | map(attribute='content') | join }}",
        "{% set a, b = messages[0], messages[1] %}{% if b.content %}x{% endif %}",
        "{% for a in [messages[0]] %}{{ a.content }}{% endfor %}",
        "{% with m = messages[0] %}{% if m.content %}x{% endif %}{% endwith %}",
        "{% if messages == tools %}x{% endif %}",
    ],
)
def test_templates_that_look(template: str) -> None:
    assert not ChatTemplate(template, {}).is_blind

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import ConfigurationError, InvalidInput
from app.model.chat_template import ChatTemplate

USER = [{"role": "user", "content": "Hi <b>"}]
TALK: list[dict[str, Any]] = [*USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "é"}]

TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}",
    "{{ messages | tojson(indent=2) }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}!",
    "{{ strftime_now('%Y') }}{% if tools %}tools{% endif %}{% if documents is none %}none{% endif %}",
    "{{ messages[0]['content'] }}{% if add_generation_prompt %}<a>{% endif %}{{ undefined_name }}{{ eos_token }}",
]


@pytest.mark.parametrize("source", TEMPLATES)
@pytest.mark.parametrize("messages", [USER, TALK])
def test_renders_as_transformers_does(source: str, messages: list[dict[str, Any]]) -> None:
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    (expected,), _ = utilities.render_jinja_template(
        [messages], chat_template=source, add_generation_prompt=True, **tokens
    )
    assert ChatTemplate(source, tokens).render(messages) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('Roles must alternate.') }}", "Roles must alternate"),
        ("{{ messages[0].content + 1 }}", "concatenate"),
        ("{{ messages[0].missing.further }}", "missing"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_refusal_is_invalid_input_with_the_reason(source: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        ChatTemplate(source, {}).render(USER)
    assert caught.value.param == "messages"


def test_a_broken_template_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="not valid Jinja"):
        ChatTemplate("{% for %}", {})

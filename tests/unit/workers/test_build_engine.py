from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.services import some_settings
from workers import lifecycle
from workers.engines import vllm


@pytest.mark.parametrize(("changes", "gpus"), [({}, 1), ({"tensor_parallel": 4}, 4)])
def test_a_model_is_split_over_as_many_gpus_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any], gpus: int
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(vllm, "VllmEngine", lambda model, **options: given.update(options, model=model))
    lifecycle.build_engine(some_settings(tmp_path, model="org/Large", model_name=None, **changes))
    assert (given["model"], given["served_model_name"]) == ("org/Large", "Large")
    assert given["tensor_parallel_size"] == gpus

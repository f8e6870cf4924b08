from __future__ import annotations

from types import SimpleNamespace

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.gguf_model import BLOCK_ROWS, bfloat16, hugging_face_name, tensor_values


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
        ("blk.29.ffn_norm.weight", "model.layers.29.post_attention_layernorm.weight"),
        ("blk.11.ffn_down.weight", "model.layers.11.mlp.down_proj.weight"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert hugging_face_name(name) == expected


@pytest.mark.parametrize(("part", "heads"), [("attn_q", 6), ("attn_k", 2)])
def test_query_and_key_rows_return_to_hugging_face_order(part: str, heads: int) -> None:
    rows = np.arange(heads * 8 * 5, dtype=np.float32).reshape(heads * 8, 5)
    # llama.cpp's file holds, for each head, row 0 of the first half, row 0 of the second half, row 1 of the first, ...
    head_starts = range(0, heads * 8, 8)
    interleaved = rows[[start + half * 4 + row for start in head_starts for row in range(4) for half in range(2)]]
    tensor = SimpleNamespace(name=f"blk.0.{part}.weight", data=interleaved, tensor_type=gguf.GGMLQuantizationType.F32)
    (values,) = tensor_values(tensor, {"num_attention_heads": 6, "num_key_value_heads": 2})
    assert np.array_equal(values, rows)


def test_other_rows_stay_and_come_in_blocks() -> None:
    rows = np.arange(5 * BLOCK_ROWS + 15, dtype=np.float32).reshape(-1, 5)
    tensor = SimpleNamespace(name="blk.0.attn_v.weight", data=rows, tensor_type=gguf.GGMLQuantizationType.F32)
    blocks = list(tensor_values(tensor, {"num_attention_heads": 2, "num_key_value_heads": 2}))
    assert [len(block) for block in blocks] == [BLOCK_ROWS, 3]
    assert np.array_equal(np.concatenate(blocks), rows)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-2.0, 0xC000),
        (0.0, 0x0000),
        (1.0 + 2**-8, 0x3F80),  # half-way: to the even neighbour below
        (1.0 + 3 * 2**-8, 0x3F82),  # half-way: to the even neighbour above
        (1.0 + 2**-8 + 2**-20, 0x3F81),
        (float(np.nextafter(np.float32(2), np.float32(1))), 0x4000),  # the carry reaches the exponent
    ],
)
def test_bfloat16_rounds_to_nearest_even(value: float, bits: int) -> None:
    assert bfloat16(np.array([value], dtype=np.float32))[0] == bits


@given(st.floats(min_value=-(2.0**100), max_value=2.0**100, width=32, allow_subnormal=False))
def test_bfloat16_is_within_half_a_unit(value: float) -> None:
    bits = bfloat16(np.array([value], dtype=np.float32))
    restored = float((bits.astype(np.uint32) << 16).view(np.float32)[0])
    assert abs(restored - value) <= abs(value) * 2**-8

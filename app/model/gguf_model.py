"""A Llama GGUF file as a Hugging Face model folder, without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np

from app.model.gguf_tokenizer import write_tokenizer

BLOCK_ROWS = 4096
"""Of a tensor, at a time: no query or key has more, whose rows have to be reordered as a whole."""
BFLOAT16_BYTES = 2
HEADER_ALIGNMENT = 8

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(source: Path, folder: Path) -> None:
    """Write the model and tokenizer of the GGUF file `source` into the existing `folder`.

    Weights become bfloat16. Only what the bundled model needs is supported: the Llama architecture without biases,
    tied embeddings, the `smollm` byte-level vocabulary.
    """
    reader = gguf.GGUFReader(source)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    config = model_config(metadata)
    _write_json(folder / "config.json", config)
    token_ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(folder / "generation_config.json", token_ids)
    write_tokenizer(metadata, folder)
    with (folder / "model.safetensors").open("wb") as file:
        _write_weights(file, reader.tensors, config)


def model_config(metadata: dict[str, Any]) -> dict[str, Any]:
    """`config.json` of a `LlamaForCausalLM`, from the GGUF's metadata."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": metadata["llama.vocab_size"],
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "head_dim": metadata["llama.rope.dimension_count"],
        "hidden_act": "silu",
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": _shortest(metadata["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": _shortest(metadata["llama.rope.freq_base"]),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
    }


def hugging_face_name(name: str) -> str:
    """`blk.3.attn_q.weight` as `model.layers.3.self_attn.q_proj.weight`."""
    stem = name.removesuffix(".weight")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_LAYER[part]}.weight"


def tensor_values(tensor: gguf.ReaderTensor, config: dict[str, Any]) -> Iterator[np.ndarray]:
    """The dequantized float32 values in blocks of rows, in Hugging Face's order."""
    for start in range(0, len(tensor.data), BLOCK_ROWS):
        values: np.ndarray = gguf.dequantize(tensor.data[start : start + BLOCK_ROWS], tensor.tensor_type)
        if ".attn_q." in tensor.name:
            values = _split_halves(values, config["num_attention_heads"])
        elif ".attn_k." in tensor.name:
            values = _split_halves(values, config["num_key_value_heads"])
        yield values


def _split_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's row order: it interleaves the two halves of each head that rotary embedding pairs."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Finite float32 values as bfloat16 bit patterns, rounded to nearest, ties to even. NumPy has no such type."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) >> 16).astype(np.uint16)


def _write_weights(file: BinaryIO, tensors: Sequence[gguf.ReaderTensor], config: dict[str, Any]) -> None:
    """Block by block in the form of safetensors, whose own writer wants all of them at once: a gigabyte here.

    Source: "Format" in the README of safetensors: length of the header, header as JSON, then the values.
    """
    ordered = sorted(tensors, key=lambda tensor: hugging_face_name(tensor.name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        start, end = end, end + BFLOAT16_BYTES * int(tensor.n_elements)
        shape = [int(size) for size in reversed(tensor.shape)]
        header[hugging_face_name(tensor.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in ordered:
        for values in tensor_values(tensor, config):
            file.write(bfloat16(values).tobytes())


def _shortest(value: float) -> float:
    """A float32 as the shortest decimal that rounds to it: 1e-05 instead of 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

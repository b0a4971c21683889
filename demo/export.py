"""Export the trained model: GGUF in Q8_0, its golden numbers, and proof of both.

    python -m demo.export RUN_FOLDER demo/lapidary-demo.gguf demo/golden/demo.npz

The layout is that of Ollama's converter. The golden numbers are Hugging Face's, in
float32, with the weights that the file holds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf.quants import dequantize, quantize
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from demo import model
from demo.chat_tokens import Encoder
from demo.evaluate import questions
from demo.vocabulary import BYTE, NORMAL, Vocabulary
from oracle.gemma4 import Gemma4
from oracle.gguf_file import GGUFFile

NAME = "Lapidary demo"
TEMPLATE = (
    Path(__file__).resolve().parents[1] / "tests/golden/tokenizer/chat_template.jinja"
)
Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
NO_ROTATION = 1e30
TOLERANCE = 5e-5  # relative L2: float32 against the oracle's float64

# Hugging Face's names within a layer, by GGUF's.
NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
    "post_ffw_norm_1.weight": "post_feedforward_layernorm_1.weight",
    "pre_ffw_norm_2.weight": "pre_feedforward_layernorm_2.weight",
    "post_ffw_norm_2.weight": "post_feedforward_layernorm_2.weight",
    "layer_output_scale.weight": "layer_scalar",
    "ffn_gate_inp.weight": "router.proj.weight",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_down_exps.scale": "router.per_expert_scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
}
GOLDEN_LENGTHS = (30, 45, 60, 100)  # conversations whose logits are kept; W is 64
GOLDEN_REPLIES = 20
GREEDY_TOKENS = 48
GOLDEN_SEED = 31

Array = npt.NDArray[np.float32]


def restored(folder: Path) -> tuple[Gemma4ForCausalLM, Encoder]:
    """Return the model of a training run, with Hugging Face's own expert code."""
    encoder = Encoder.load(folder / "vocabulary.json")
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=False)
    gemma = model.build(Gemma4TextConfig.from_dict(state["config"]))
    gemma.load_state_dict(state["model"])
    return gemma.eval(), encoder


def tensors(gemma: Gemma4ForCausalLM) -> Iterator[tuple[str, str | None, Array]]:
    """Yield GGUF's name, Hugging Face's, and the values; rope_freqs has no second."""
    state = {name: value.float().numpy() for name, value in gemma.state_dict().items()}
    for ours, theirs in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ):
        yield ours, theirs, state[theirs]
    yield "rope_freqs.weight", None, rope_factors(gemma)
    for layer in range(gemma.config.num_hidden_layers):
        for ours, theirs in NAMES.items():
            name = f"model.layers.{layer}.{theirs}"
            if name in state:
                yield f"blk.{layer}.{ours}", name, state[name]


def rope_factors(gemma: Gemma4ForCausalLM) -> Array:
    """Return the global layers' frequency factors: 1 turns a pair, 1e30 stops it."""
    n_pairs = gemma.model.layers[-1].self_attn.head_dim // 2
    share = gemma.config.rope_parameters["full_attention"]["partial_rotary_factor"]
    factors = np.full(n_pairs, NO_ROTATION, np.float32)
    factors[: int(n_pairs * share)] = 1.0
    return factors


def storage_type(name: str, values: Array) -> gguf.GGMLQuantizationType:
    """Return Q8_0 for matrices, F32 for vectors and the router."""
    return F32 if values.ndim == 1 or "ffn_gate_inp" in name else Q8_0


def write(path: Path, gemma: Gemma4ForCausalLM, vocabulary: Vocabulary) -> None:
    """Write the file."""
    writer = gguf.GGUFWriter(path, "gemma4")
    _write_sizes(writer, gemma)
    _write_tokenizer(writer, vocabulary)
    for name, _, values in tensors(gemma):
        kind = storage_type(name, values)
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: gguf.GGUFWriter, gemma: Gemma4ForCausalLM) -> None:
    config = gemma.config
    sliding = [kind == "sliding_attention" for kind in config.layer_types]
    attentions = [layer.self_attn for layer in gemma.model.layers]
    head_dims = {attention.is_sliding: attention.head_dim for attention in attentions}
    n_parameters = sum(weight.numel() for weight in gemma.parameters())
    writer.add_type("model")
    writer.add_name(NAME)
    writer.add_size_label(f"{n_parameters / 1e6:.1f}M")
    writer.add_license("apache-2.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv([a.k_proj.out_features // a.head_dim for a in attentions])
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_expert_count(config.num_experts)
    writer.add_expert_used_count(config.top_k_experts)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    for add in (writer.add_key_length, writer.add_value_length):
        add(head_dims[False])
    for add in (writer.add_key_length_swa, writer.add_value_length_swa):
        add(head_dims[True])
    writer.add_rope_dimension_count(head_dims[False])
    writer.add_rope_dimension_count_swa(head_dims[True])
    writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)
    writer.add_sliding_window_pattern(sliding)
    writer.add_shared_kv_layers(0)
    writer.add_embedding_length_per_layer_input(0)
    # A small model says what it means with its likeliest tokens.
    writer.add_float32("general.sampling.temp", 0.0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _write_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """Write the vocabulary as Ollama's converter does: byte tokens typed normal."""
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    types = [NORMAL if kind == BYTE else kind for kind in vocabulary.types]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("gemma4")
    writer.add_token_list([*vocabulary.tokens])
    writer.add_token_scores([float(i) for i in range(len(ids))])
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(ids["<bos>"])
    writer.add_eos_token_id(ids["<eos>"])
    writer.add_unk_token_id(ids["<unk>"])
    writer.add_pad_token_id(ids["<pad>"])
    writer.add_mask_token_id(ids["<mask>"])
    stops = [ids["<eos>"], ids["<turn|>"]]
    writer.add_array("tokenizer.ggml.eos_token_ids", stops)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(chat_template())


def chat_template() -> str:
    """Return Gemma 4's template as the small models have it: without an empty thought.

    It tells readers of the file how the corpus was written.
    """
    text = TEMPLATE.read_text("utf-8")
    begin = text.index("    {%- if not enable_thinking | default(false) -%}")
    last = "{%- endif -%}\n"
    end = text.index(last, begin) + len(last)
    note = "    {#- Trained as the small models are: no empty thought is written. -#}\n"
    return text[:begin] + note + text[end:]


def check_round_trip(path: Path, gemma: Gemma4ForCausalLM) -> None:
    """Compare the file's values with the model's; give the model the file's.

    Raises: ValueError when a value is further off than Q8_0 may be.
    """
    file = GGUFFile(path)
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    if reader.keys() != {name for name, _, _ in tensors(gemma)}:
        raise ValueError("the file lacks tensors, or has others")
    state = gemma.state_dict()
    for ours, theirs, values in tensors(gemma):
        stored = dequantize(reader[ours].data, reader[ours].tensor_type)
        stored = stored.reshape(values.shape)
        if not np.array_equal(stored, file.tensor(ours)):
            raise ValueError(f"{ours}: two readers disagree")
        # Half a step of a block of 32: its largest value over 127, and as the scale is
        # a half-precision number, 2^-11 of the value besides.
        blocks = np.abs(values.reshape(-1, min(32, values.shape[-1]))).max(-1)
        bound = (blocks / 127 * 0.5 + blocks * 2**-11)[:, None] + 1e-9
        error = np.abs(stored - values).reshape(len(blocks), -1)
        if not (error <= bound).all():
            raise ValueError(f"{ours}: off by {error.max():g}")
        if theirs is not None:
            state[theirs].copy_(torch.from_numpy(np.array(stored)))


def golden(
    gemma: Gemma4ForCausalLM, encoder: Encoder
) -> dict[str, npt.NDArray[np.generic]]:
    """Return prompts, their logits and greedy replies, by Hugging Face in float32."""
    chosen = questions(GOLDEN_REPLIES, GOLDEN_SEED)
    requests = [
        {"messages": [*item.prompt], "tools": [*item.tools], "think": item.think}
        for item in chosen
    ]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "requests": np.array([json.dumps(request) for request in requests])
    }
    for i, item in enumerate(chosen):
        ids = encoder.prompt(item)
        reply, margins = _greedy(gemma, ids)
        arrays[f"ids_{i}"] = np.array(ids, np.int32)
        arrays[f"greedy_{i}"] = np.array(reply, np.int32)
        arrays[f"margin_{i}"] = np.array(margins, np.float32)
    for length in GOLDEN_LENGTHS:
        wholes = map(encoder.whole, chosen)
        ids = next(whole for whole in wholes if len(whole) >= length)[:length]
        logits = gemma(input_ids=torch.tensor([ids])).logits[0]
        arrays[f"logits_ids_{length}"] = np.array(ids, np.int32)
        arrays[f"logits_{length}"] = logits.numpy()
    return arrays


def _greedy(gemma: Gemma4ForCausalLM, ids: list[int]) -> tuple[list[int], list[float]]:
    """Return the next tokens, past the end of the turn, and each one's lead."""
    new: list[int] = []
    margins: list[float] = []
    for _ in range(GREEDY_TOKENS):
        logits = gemma(input_ids=torch.tensor([ids + new]), use_cache=False).logits[
            0, -1
        ]
        best = torch.topk(logits, 2)
        new.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
    return new, margins


def check_oracle(path: Path, arrays: dict[str, npt.NDArray[np.generic]]) -> float:
    """Compare the golden logits with the oracle's; return the largest distance.

    Raises: ValueError beyond the tolerance.
    """
    oracle = Gemma4.open(path)
    worst = 0.0
    for length in GOLDEN_LENGTHS:
        theirs = arrays[f"logits_{length}"].astype(np.float64)
        ours = oracle.forward([*map(int, arrays[f"logits_ids_{length}"])]).logits
        distance = float(np.linalg.norm(ours - theirs) / np.linalg.norm(ours))
        worst = max(worst, distance)
    if worst > TOLERANCE:
        raise ValueError(f"the oracle is {worst:g} away from Hugging Face")
    return worst


def main() -> None:
    """Export, check, and write the golden numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("golden", type=Path)
    args = parser.parse_args()
    gemma, encoder = restored(args.folder)
    write(args.gguf, gemma, encoder.vocabulary)
    with torch.inference_mode():
        check_round_trip(args.gguf, gemma)
        arrays = golden(gemma, encoder)
    print(f"oracle: relative L2 {check_oracle(args.gguf, arrays):.2g}")
    args.golden.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.golden, **arrays)
    for path in (args.gguf, args.golden):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

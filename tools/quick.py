"""What `build.py test --quick` runs: a choice of tests that touches everything once.

For while one works. Every shader is compiled, and one kernel of each module of
`graph/kernels_*.py` held to the oracle; then golden models, tokenizers, chat formats,
files, Ollama's store, and a browser that loads a model and gives the native tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.environment import ROOT

# The folders of tests/, and of each what pytest is given: files, or tests in them.
QUICK: Mapping[str, Sequence[str]] = {
    "app": (
        "test_chat_choice.py",
        "test_chat_formats.py",
        "test_chat_replies.py",
        "test_cli_chat.py",
        "test_gguf_reader.py",
        "test_kernels.py",
        "test_ollama.py",
        "test_fit.py::test_refuses_with_the_numbers",
        "test_sampling.py",
        "test_tokenizer.py",
        "test_tokenizer_families.py",
    ),
    "oracle": ("test_dequantise.py",),
    "shaders": (
        "test_compile.py",
        "test_attention_decode.py::test_does_what_a_family_does",
        "test_expert_down.py",
        "test_expert_sort.py",
        "test_matvec.py",
        "test_norm_sum.py",
        "test_rms_norm.py",
        "test_sample.py::test_agrees_with_the_reference",
    ),
    "models": (
        "test_golden.py::test_f32_logits_arg_max_and_greedy_tokens",
        "test_families.py::test_f32_logits_arg_max_and_greedy_tokens",
        "test_engine.py",
    ),
    "demo": ("test_demo_model.py::test_logits_are_hugging_faces",),
    "web": (
        "test_pure.py",
        "test_turns.py",
        "test_end_to_end.py"
        "::test_same_tokens_from_the_same_shaders_as_natively[moe8-q4_k_m]",
    ),
}


def left_out(folder: str) -> str:
    """Say how much of a folder's tests the choice leaves out."""
    files = {path.name for path in (ROOT / "tests" / folder).glob("test_*.py")}
    whole = {name for name in QUICK[folder] if "::" not in name}
    begun = {name.partition("::")[0] for name in QUICK[folder]} - whole
    n_left = len(files - whole - begun)
    parts = f" and parts of {', '.join(sorted(begun))}" if begun else ""
    return f"{n_left} of {len(files)} files of tests/{folder}{parts}"

"""What the kernels compile to for an H100, which can be found out without a GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMPILED = Path(__file__).with_name("compiled_sm_90.json")
"""File with the registers, shared memory and instructions of every kernel, compiled for sm_90."""
MODEL = "ast_base"
"""Model whose forward launches the kernels in that file."""


def instructions_of(one: Mapping[str, Any]) -> tuple[float, str]:
    """Return the thread instructions per item of the kernel's work, and what an item is and which part is counted."""
    options, loop = one["options"], one["loop_instructions"]
    threads = 32 * options["num_warps"]
    tile = options.get("BM", 0) * options.get("BN", 0)
    kernel = one["kernel"]
    if kernel == "attention_forward":
        return loop * threads / tile, "score, in the loop"
    if kernel in ("best_partner_forward", "rank_pairs", "write_plan"):
        return loop * threads / tile, "pair, in the loop"
    if kernel in ("linear_gelu_forward", "patch_tokens_forward"):
        return (one["instructions"] - loop) * threads / tile, "output, outside the loop"
    if kernel == "key_metric_forward":
        return one["instructions"] * threads / (options["BM"] * options["E"]), "number of the metric"
    merging = ", those that merge included" if kernel == "merge_norm_forward" else ""
    return one["instructions"] * threads / options["D"], f"number of a row{merging}"


def compiled_facts(lines: str, triton: str) -> dict[str, Any]:
    """Return the facts to keep of the lines that `ahead_of_time` prints: launches for sm_90, by batch, not by case."""
    kept = ("kernel", "programs", "options", "shared_bytes", "registers", "spill_bytes", "instructions")
    found = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    kernels = [
        {"batch": int(one["case"].rpartition(" ")[2]), **{name: one[name] for name in (*kept, "loop_instructions")}}
        for one in found
        if one["capability"] == 90
    ]
    return {"triton": triton, "kernels": kernels}

"""Numbers about the kernels that follow from shapes, data sheets and machine code: `reports/counted.csv`, for claims.

They are for AST-base on 10 s with r = 40 and batch 64, unless a row says otherwise.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gpu import work
from bench.gpu.compiled import COMPILED, MODEL, instructions_of
from bench.gpu.parts import forward_parts
from bench.gpu.peaks import H100_SXM, MEASURED_MATRIX, NEAR
from fastast.commands.describe import model_geometry
from fastast.frontend.filterbank import FRAME_SECONDS, SAMPLE_RATE, num_frames

COUNTED = Path(__file__).parents[2] / "reports" / "counted.csv"
BATCH, R = 64, 40
HEADS = ("name", "value", "unit", "what", "machine", "date")
_WINDOW = int(SAMPLE_RATE * FRAME_SECONDS)
_POINTS = 1 << (_WINDOW - 1).bit_length()
"""Number of samples in a frame (`_WINDOW`), and in its padded Fourier transform (`_POINTS`)."""


def counted_csv() -> str:
    """Return the table as CSV: one row per number, whose `machine` column names what it follows from."""
    facts = json.loads(COMPILED.read_text(encoding="utf-8"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADS)
    for rows, whence, version in (
        (_peaks(), "data sheets and references in bench/gpu/peaks.py", "–"),
        (_shapes(), "shapes, by bench/gpu/work.py", "–"),
        (_filterbank(), "shapes, by bench/gpu/counted.py", "–"),
        (_compiled(facts), "compiled for sm_90: bench/gpu/compiled_sm_90.json", f"Triton {facts['triton']}"),
    ):
        writer.writerows((name, f"{value:.6g}", unit, what, whence, version) for name, value, unit, what in rows)
    return text.getvalue()


Rows = Iterator[tuple[str, float, str, str]]
"""Rows of name, value, unit and description."""


def _peaks() -> Rows:
    peaks = H100_SXM
    yield "peak_memory", peaks.bytes / 1e12, "TB/s", "memory of an H100 SXM"
    yield "peak_matrix", peaks.matrix / 1e12, "TFLOP/s", "matrix units of an H100 SXM, bfloat16, dense"
    yield "measured_matrix", MEASURED_MATRIX["H100"] / 1e12, "TFLOP/s", "a large product, on one H100"
    yield "peak_exponentials", peaks.exponentials / 1e12, "10^12/s", "exponentials of an H100 SXM"
    yield "peak_other", peaks.other / 1e12, "10^12/s", "instructions of an H100 SXM's ordinary units, for one number"
    yield "near", 100 * (1 - NEAR), "%", "of the slowest unit's time, within which another binds too"


def _shapes() -> Rows:
    shape = model_geometry(MODEL).encoder
    b, n, d, h, e, o = BATCH, shape.num_tokens, shape.embed_dim, shape.num_heads, shape.head_dim, shape.mlp_dim
    a = math.ceil(n / 2)
    per_output = work.product(1, d, o).matrix / o / H100_SXM.matrix * H100_SXM.other
    yield (
        "gelu_product",
        per_output,
        "instructions",
        "that the ordinary units issue while an output of the MLP is summed",
    )
    yield "tokens_written", b * n * d * work.HALF / 1e9, "GB", "the token buffer"
    yield "tokens_written_time", b * n * d * work.HALF / H100_SXM.bytes * 1e3, "ms", "to write the token buffer"
    yield "metric_read", b * n * h * e * work.HALF / 1e6, "MB", "keys that the metric reads in the first block"
    yield "metric_written", b * n * e * work.SINGLE / 1e6, "MB", "the metric of the first block"
    yield "similarities", a * (n // 2) * work.SINGLE / 1e6, "MB", "the matrix of similarities of a clip's first block"
    parts = {part.kernel: part for part in forward_parts(model_geometry(MODEL), (R,) * shape.depth, b)}
    partners = parts["best_partner_forward"]
    products = partners.work.other / (e + 3) * 2 * e
    yield "partner_products", products / 1e9, "GFLOP", "of best_partner in a forward"
    yield "partner_blocks", partners.calls, "blocks", "of a forward that merge"
    yield "partner_matrix", products / H100_SXM.matrix * 1e3, "ms", "the same on the matrix units"
    yield "partner_floor", partners.work.floor(H100_SXM) * 1e3, "ms", "best_partner in a forward, on the ordinary units"
    yield "rank_comparisons", b * a * a / 1e6, "M", "comparisons of rank_pairs in the first block"
    merging = work.merge_norm_work(b, n, n - R, d, sized=False)
    yield "merge_norm_moved", merging.bytes / 1e6, "MB", "that merge_norm moves in the first block"
    yield "add_norm_moved", work.add_norm_work(b * n, d).bytes / 1e6, "MB", "that add_norm moves for as many tokens"


def _filterbank() -> Rows:
    geometry = model_geometry(MODEL)
    samples = 10 * SAMPLE_RATE
    frames = BATCH * num_frames(samples)
    windowed, spectrum = frames * _POINTS * work.SINGLE, frames * (_POINTS // 2 + 1) * 2 * work.SINGLE
    features = BATCH * geometry.num_frames * geometry.num_mel_bins * work.SINGLE
    passes = {
        "frames": BATCH * samples * work.SINGLE + windowed,
        "fft": windowed + spectrum,
        "energies": spectrum + features,
    }
    for name, moved in passes.items():
        yield f"filterbank_{name}", moved / 1e6, "MB", f"{name} of the filterbank of 64 clips of 10 s, read and written"
    yield "filterbank_moved", sum(passes.values()) / 1e9, "GB", "the three passes"
    yield "filterbank_time", sum(passes.values()) / H100_SXM.bytes * 1e3, "ms", "the three passes, at the memory's rate"
    fourier = frames * _WINDOW * (_POINTS // 2 + 1) * 2 * 2
    yield "filterbank_fourier", fourier / 1e9, "GFLOP", "the Fourier transform as a product with a matrix"


def _compiled(facts: dict[str, Any]) -> Rows:
    found = {(one["kernel"], one["batch"]): one for one in facts["kernels"]}
    n = model_geometry(MODEL).encoder.num_tokens
    metric, ranks = (found[name, 1]["options"]["BM"] for name in ("key_metric_forward", "rank_pairs"))
    yield "metric_tokens", metric, "tokens", "of a program of key_metric, of a single clip"
    yield "metric_programs", math.ceil(n / metric), "programs", "of key_metric for a single clip, first block"
    yield "metric_tokens_64", found["key_metric_forward", BATCH]["options"]["BM"], "tokens", "of a program, batch 64"
    yield "rank_pairs_of_program", ranks, "pairs", "of a program of rank_pairs"
    yield (
        "rank_programs",
        math.ceil(math.ceil(n / 2) / ranks),
        "programs",
        "of rank_pairs for a single clip, first block",
    )
    for name, kernel in (("attention", "attention_forward"), ("gelu", "linear_gelu_forward")):
        yield f"{name}_instructions", instructions_of(found[kernel, BATCH])[0], "instructions", f"of {kernel} per item"
    yield "gelu_loop", found["linear_gelu_forward", BATCH]["loop_instructions"], "instructions", "of linear_gelu's loop"
    yield (
        "merge_norm_registers",
        found["merge_norm_forward", BATCH]["registers"],
        "registers",
        "of a thread of merge_norm",
    )

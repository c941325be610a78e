"""What the gate measures: one small model, its reductions, and the arms with which they are timed.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `h` heads, `d` width, `c` classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cell import baselines
from fastast import Constant, TokenReduction, create_model, reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.statistics import Estimate, ratio_of_medians

FRAMES = 512
"""Frames of the input, for 602 tokens: the whole gate takes well under a minute on two cores."""
RATIOS = {"unmerged": "speedup", "slice": "of_slice", "reference": "of_reference"}
"""Names of the ratios of every arm's time to the candidate's; in all of them more is better."""
Times = dict[str, dict[str, list[float]]]
"""Seconds of every round, by clock, then by arm; equal positions in two lists are the same round."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration that is timed."""

    r: int
    """Tokens removed per block; 0 is a reduction that is attached but removes nothing."""
    batch_size: int
    """Clips per batch."""
    rounds: int
    """Number of interleaved rounds."""

    frames: int = FRAMES
    """Frames of the input."""

    def __str__(self) -> str:
        length = "" if self.frames == FRAMES else f"-{self.frames}frames"
        return f"r{self.r}-batch{self.batch_size}{length}"


CASES = (
    Case(r=0, batch_size=1, rounds=9),
    Case(r=20, batch_size=1, rounds=9),
    Case(r=40, batch_size=1, rounds=9),
    Case(r=40, batch_size=2, rounds=7),
    Case(r=20, batch_size=1, rounds=11, frames=256),
)


def gate_model(*, depth: int = 12, frames: int = FRAMES) -> AudioSpectrogramTransformer:
    """Return the gate's model with random weights, which are the same in every run."""
    torch.manual_seed(0)
    return create_model("ast_tiny", num_frames=frames, depth=depth).eval()


def reduction(r: int) -> TokenReduction:
    """Return the reduction that removes `r` tokens in every block."""
    return TokenReduction(schedule=Constant(r))


def merging_twin(model: AudioSpectrogramTransformer, r: int, *, attention: str = "auto") -> AudioSpectrogramTransformer:
    """Return a model that shares all weights with `model` and removes `r` tokens in every block."""
    twin = baselines.unmerged(model)
    reduce(twin, reduction(r), attention=attention)
    return twin


def random_input(model: AudioSpectrogramTransformer, batch_size: int, device: str = "cpu") -> Tensor:
    """Return normal noise (b, f, m), the same in every run."""
    shape = (batch_size, model.geometry.num_frames, model.geometry.num_mel_bins)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


class TimedForward:
    """A forward that returns once its result is computed, and keeps the processor time of every call."""

    def __init__(self, forward: Callable[[Tensor], Tensor], fbank: Tensor) -> None:
        self._forward, self._fbank = forward, fbank
        self.cpu_seconds: list[float] = []

    def __call__(self) -> None:
        start = time.process_time()
        with torch.inference_mode():
            self._forward(self._fbank)
        if self._fbank.is_cuda:
            torch.cuda.synchronize()
        self.cpu_seconds.append(time.process_time() - start)


def arms_of(case: Case, device: str = "cpu") -> dict[str, TimedForward]:
    """Return the arms of a case by name, the candidate first."""
    model = gate_model(frames=case.frames).to(device)
    fbank = random_input(model, case.batch_size, device)
    forwards: dict[str, Callable[[Tensor], Tensor]] = {
        "candidate": merging_twin(model, case.r),
        "unmerged": baselines.unmerged(model),
        "reference": partial(reference, model),
    }
    if case.r:
        forwards["slice"] = baselines.sliced(model, Constant(case.r))
    return {name: TimedForward(forward, fbank) for name, forward in forwards.items()}


def by_clock(arms: Mapping[str, TimedForward], wall: Mapping[str, Sequence[float]], device: str = "cpu") -> Times:
    """Return the seconds of every arm by clock: `wall` and, where it is meaningful, `cpu`.

    wall: seconds of the last calls of every arm. Processor time leaves out what other processes take, so it shows small
    changes on a busy machine; wall time includes waiting. With several threads, processor time would count the time
    that they wait for each other.
    """
    times: Times = {"wall": {name: list(values) for name, values in wall.items()}}
    if device == "cpu" and torch.get_num_threads() == 1:
        times["cpu"] = {name: arms[name].cpu_seconds[-len(values) :] for name, values in wall.items()}
    return times


def steadiest(times: Times) -> dict[str, list[float]]:
    """Return the seconds by the clock that baselines keep: processor time where it is meaningful, else wall time."""
    return times.get("cpu", times["wall"])


def ratios(times: Times) -> dict[str, dict[str, Estimate]]:
    """Return every ratio of `RATIOS` with its interval, by clock."""
    return {
        clock: {
            name: paired_ratio(seconds[arm], seconds["candidate"]) for arm, name in RATIOS.items() if arm in seconds
        }
        for clock, seconds in times.items()
    }


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """Return the median of the per-round ratios and its interval: what disturbs a round disturbs both arms."""
    per_round = np.divide(numerator, denominator)
    return ratio_of_medians(per_round, np.ones_like(per_round))


def reference(model: AudioSpectrogramTransformer, fbank: Tensor) -> Tensor:
    """Compute what the unmerged model does with PyTorch's functions and its weights, not its code. (b, f, m) -> (b, c).

    The other arms share the code of blocks with the candidate, so what slows all of them alike leaves their ratios
    unchanged. This arm must stay as it is: do not make it faster or slower.
    """
    w, g = dict(model.named_parameters()), model.geometry
    x = F.conv2d(
        fbank.transpose(1, 2).unsqueeze(1),
        w["patch_embed.proj.weight"],
        w["patch_embed.proj.bias"],
        (g.fstride, g.tstride),
    )
    x = x.flatten(2).transpose(1, 2)  # (b, n - 2, d)
    prefix = torch.cat([w["cls_token"], w["dist_token"]], 1).expand(len(x), -1, -1)
    x = torch.cat([prefix, x], 1) + w["pos_embed"]  # (b, n, d)
    b, n, d = x.shape
    for i in range(g.depth):
        p = f"blocks.{i}."
        y = F.layer_norm(x, (d,), w[p + "norm1.weight"], w[p + "norm1.bias"], g.norm_eps)
        qkv = F.linear(y, w[p + "attn.qkv.weight"], w[p + "attn.qkv.bias"] if g.qkv_bias else None)
        q, k, v = qkv.view(b, n, 3, g.num_heads, g.head_dim).permute(2, 0, 3, 1, 4).unbind(0)  # (b, h, n, d/h) each
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + F.linear(y, w[p + "attn.proj.weight"], w[p + "attn.proj.bias"])
        y = F.layer_norm(x, (d,), w[p + "norm2.weight"], w[p + "norm2.bias"], g.norm_eps)
        y = F.gelu(F.linear(y, w[p + "mlp.fc1.weight"], w[p + "mlp.fc1.bias"]))
        x = x + F.linear(y, w[p + "mlp.fc2.weight"], w[p + "mlp.fc2.bias"])
    x = F.layer_norm(x, (d,), w["norm.weight"], w["norm.bias"], g.norm_eps)
    x = F.layer_norm((x[:, 0] + x[:, 1]) / 2, (d,), w["head.norm.weight"], w["head.norm.bias"], g.head_norm_eps)
    return F.linear(x, w["head.linear.weight"], w["head.linear.bias"])  # (b, c)

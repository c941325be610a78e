"""A pytest plugin that really changes the speed of a build, as SLOWED_BUILD asks: more or less work in every block."""

from __future__ import annotations

import os
import time

from fastast.model import Block
from fastast.reduction import AttachedReduction

how = os.environ["SLOWED_BUILD"]
attention, mlp_branch, choose = Block.attention, Block.mlp_branch, AttachedReduction.choose
merged = []
"""Whether tokens were merged since the last MLP: in the merged model alone, not in its baselines."""


def attend_often(self, x, size, kernel):
    for _ in range(4):
        self.attn(self.norm1(x), None, kernel)
    return attention(self, x, size, kernel)


def wait(self, x, size, kernel):
    time.sleep(0.005)
    return attention(self, x, size, kernel)


def choose_and_tell(self, tokens, r):
    if self.reduction.method != "slice":
        merged.append(True)
    return choose(self, tokens, r)


def leave_out_the_mlp_after_merging(self, x):
    if merged:
        merged.clear()
        return x
    return mlp_branch(self, x)


def choose_often(self, tokens, r):
    for _ in range(20):
        choose(self, tokens, r)
    return choose(self, tokens, r)


if how == "matching":
    AttachedReduction.choose = choose_often
elif how == "faster":
    AttachedReduction.choose, Block.mlp_branch = choose_and_tell, leave_out_the_mlp_after_merging
else:
    Block.attention = {"attention": attend_often, "waiting": wait}[how]

"""A pytest plugin that really changes the speed of a build, as SLOWED_BUILD asks: more or less work in every block."""

from __future__ import annotations

import os
import time

from torch import nn

from fastast.model import Block
from fastast.reduction import AttachedReduction

how = os.environ["SLOWED_BUILD"]
attention, choose = Block.attention, AttachedReduction.choose


def attend_often(self, x, size, kernel):
    for _ in range(4):
        self.attn(self.norm1(x), None, kernel)
    return attention(self, x, size, kernel)


def wait(self, x, size, kernel):
    time.sleep(0.005)
    return attention(self, x, size, kernel)


def leave_out_the_mlp(self, x):
    return nn.Identity()(x)


def choose_often(self, tokens, r):
    for _ in range(20):
        choose(self, tokens, r)
    return choose(self, tokens, r)


if how == "matching":
    AttachedReduction.choose = choose_often
elif how == "faster":
    Block.mlp_branch = leave_out_the_mlp
else:
    Block.attention = {"attention": attend_often, "waiting": wait}[how]

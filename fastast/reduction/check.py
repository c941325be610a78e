"""Checks of merge plans, once per block, because a method from another package may return anything.

Shapes: `b` batch, `n` tokens, `p` slots, `m` tokens that own no slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastast.reduction.choosing.adaptive import AdaptivePlan
from fastast.reduction.options import ReductionError
from fastast.reduction.plan import MergePlan, PlanError
from fastast.reduction.tokens import BlockTokens

if TYPE_CHECKING:
    from fastast.reduction.spec import TokenReduction


def looks_at_values(tokens: BlockTokens) -> bool:
    """Return whether the values of a plan can be read: not in a graph that is being compiled, exported or captured."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or tokens.before.is_meta:
        return False
    if type(tokens.before) is not Tensor and not isinstance(tokens.before, torch.nn.Parameter):
        return False  # fake tensors, and subclasses that stand for several tensors
    return not (tokens.device.type == "cuda" and torch.cuda.is_current_stream_capturing())


def speaks_of_the_method(tokens: BlockTokens) -> bool:
    """Return whether a plan shows what the method does: without clips it is empty, with NaN or infinity arbitrary."""
    return tokens.batch > 0 and bool(torch.isfinite(tokens.after).all())


def checked_choice(reduction: TokenReduction, tokens: BlockTokens, r: int) -> MergePlan:
    """Let a method choose, check its plan, and return it.

    Raises ReductionError, with the method, the block and the broken rule, where the plan is not valid or does not
    remove `r` tokens, where the method draws random numbers without being registered as random, and where its random
    numbers do not repeat.
    """
    where = f"reduction {reduction.method}: block {tokens.block + 1}"
    before = _random_state(tokens.device)
    try:
        plan = reduction.registered.choose(tokens, r, reduction.options)
    except PlanError as error:
        raise PlanError(f"{where} got {error}") from error
    if (problem := _problem(plan, tokens, r)) is not None:
        raise PlanError(f"{where} got {problem}")
    moved = not all(map(torch.equal, before, _random_state(tokens.device)))
    if moved and not _repeats(plan, lambda: reduction.registered.choose(tokens, r, reduction.options), tokens):
        raise ReductionError(
            f"{where} drew numbers that do not repeat; use tokens.draw(), which depends on seed and block alone"
        )
    if tokens.has_drawn and not reduction.draws:
        raise ReductionError(
            f"{where} drew numbers, but the method is not registered as random: give random=True, so that sweeps pass "
            "it their seed"
        )
    return plan


_AGAIN = 8
"""How often a method is run again where random numbers were drawn while it chose, perhaps by another thread."""


def _repeats(plan: MergePlan, choose: Callable[[], MergePlan], tokens: BlockTokens) -> bool:
    """Return whether a method makes the same plan every time."""

    def parts(made: MergePlan) -> tuple[Tensor, Tensor]:
        slots = made.slot(tokens.batch, tokens.device)  # (b, n)
        return slots, slots.new_zeros(1) if made.weight is None else made.weight

    return all(all(map(torch.equal, parts(plan), parts(choose()))) for _ in range(_AGAIN))


def chosen_above(reduction: TokenReduction, tokens: BlockTokens, r: int) -> AdaptivePlan:
    """Let a method choose by a threshold. Raises PlanError where its plan has none."""
    plan = reduction.registered.choose(tokens, r, reduction.options)
    if not isinstance(plan, AdaptivePlan):
        raise PlanError(
            f"reduction {reduction.method}: block {tokens.block + 1} got a plan without a threshold; methods with "
            "thresholds=True must use tokens.threshold, as fastast.reduction.choosing.matching does"
        )
    return plan


def _random_state(device: torch.device) -> tuple[Tensor, ...]:
    """Return the state of PyTorch's own generators, which any code may advance."""
    cpu = torch.random.get_rng_state()
    return (cpu, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (cpu,)


def _problem(plan: object, tokens: BlockTokens, r: int) -> str | None:
    if not isinstance(plan, MergePlan):
        return f"a {type(plan).__name__}; a method returns a MergePlan"
    b, n, p = tokens.batch, tokens.num_tokens, tokens.num_tokens - r
    if plan.num_tokens != n:
        return f"a plan for {plan.num_tokens} tokens; the block has {n}"
    if plan.num_slots != p:
        return f"a plan that leaves {plan.num_slots} of {n} tokens; with r = {r} it must leave {p}"
    if isinstance(plan.owner, slice):
        owner = torch.arange(n, device=tokens.device)[plan.owner].expand(b, -1)
    else:
        owner = plan.owner
    parts = {"owner": owner, "merged": plan.merged, "target": plan.target}
    for name, part in parts.items():
        if part is None:
            continue
        if part.device != tokens.device:
            return f"a plan whose {name} is on {part.device}; the tokens are on {tokens.device}"
        if part.dtype != torch.int64:
            return f"a plan whose {name} is {part.dtype}; it must be int64"
        if part.ndim != 2 or part.shape[0] != b:
            return f"a plan whose {name} has shape {tuple(part.shape)}; it must be ({b} clips, tokens)"
    if (plan.merged is None) != (plan.target is None):
        return "a plan with only one of merged and target; give both or neither"
    return _values(plan, owner, tokens) or _weights(plan, tokens)


def _values(plan: MergePlan, owner: Tensor, tokens: BlockTokens) -> str | None:
    b, n, p = tokens.batch, tokens.num_tokens, plan.num_slots
    if outside := _outside(owner, 0, n):
        return f"a plan whose owner names token {outside}; there are 0 to {n - 1}"
    used = torch.zeros(b, n, dtype=torch.int64, device=tokens.device).scatter_add(1, owner, torch.ones_like(owner))
    if plan.merged is not None and plan.target is not None:
        if plan.merged.shape != plan.target.shape:
            return f"a plan with {plan.merged.shape[1]} merged tokens and {plan.target.shape[1]} targets"
        if plan.merged.shape[1] != n - p:
            return (
                f"a plan that lists {plan.merged.shape[1]} of the {n - p} tokens that own no slot in merged; list all, "
                "those that are dropped with target -1 and drops=True"
            )
        if outside := _outside(plan.merged, 0, n):
            return f"a plan that merges token {outside}; there are 0 to {n - 1}"
        least = -1 if plan.drops else 0
        if outside := _outside(plan.target, least, p):
            dropped = " or, with drops=True, -1" if not plan.drops else " or -1"
            return f"a plan that sends a token to slot {outside}; allowed: 0 to {p - 1}{dropped}"
        used = used.scatter_add(1, plan.merged, torch.ones_like(plan.merged))
    if int(used.max()) > 1:
        return f"a plan that uses token {int((used > 1).nonzero()[0, 1])} twice; every token has one slot"
    slots = plan.slot(b, tokens.device)[:, : tokens.num_protected]  # (b, protected)
    alone = torch.zeros(b, p, dtype=torch.int64, device=tokens.device)
    every = plan.slot(b, tokens.device)
    alone = alone.scatter_add(1, every.clamp_min(0), (every >= 0).long())
    if tokens.num_protected and (bool((slots < 0).any()) or int(alone.gather(1, slots.clamp_min(0)).max()) > 1):
        return f"a plan that merges or drops one of the first {tokens.num_protected} tokens, which are protected"
    return None


def _weights(plan: MergePlan, tokens: BlockTokens) -> str | None:
    weight = plan.weight
    if weight is None:
        return None
    if tuple(weight.shape) != (tokens.batch, tokens.num_tokens):
        return f"weights of shape {tuple(weight.shape)}; they must be ({tokens.batch}, {tokens.num_tokens})"
    if weight.device != tokens.device or weight.dtype not in (torch.float32, torch.float64):
        return f"weights in {weight.dtype} on {weight.device}; they must be float32 on {tokens.device}"
    if not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        return "weights that are negative, infinite or NaN"
    if not bool((plan.sum(weight) > 0).all()):
        return "weights that add up to 0 in a slot, which then has no average"
    return None


def _outside(index: Tensor, low: int, high: int) -> str:
    """Return one entry outside [low, high), as text; empty where there is none."""
    wrong = (index < low) | (index >= high)
    return str(int(index[wrong][0])) if bool(wrong.any()) else ""

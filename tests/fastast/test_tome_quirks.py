"""Habits of ToMe's published patch, one test each: FastAST keeps the habit (KEPT) or differs on purpose (CHANGED)."""

from __future__ import annotations

import copy
import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from block_watch import watch_blocks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from fastast.geometry import Geometry, geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import (
    BlockShape,
    MergePlan,
    MergeTrace,
    ReductionError,
    TokenReduction,
    get_method,
    unmerge,
)
from fastast.reduction.choosing.matching import bipartite_soft_matching
from fastast.schedule import Constant, Linear, PerBlock, Schedule, ScheduleError, parse_schedule
from tests.oracles import numpy_tome as oracle

CPU = torch.device("cpu")
MERGE = TokenReduction(schedule=Constant(9))
AST_10S = geometry("base")
AST_STRIDE_16 = geometry("base", fstride=16, tstride=16)
ESC_50 = geometry("base", num_frames=512)
SPEECH_COMMANDS = geometry("base", num_frames=128)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """These models are so small that a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plan_of(metric: Tensor, r: int, p: int = 2, order: str = "tome") -> MergePlan:
    return bipartite_soft_matching(metric, r, num_protected=p, order=order)


def slots(metric: Tensor, r: int, p: int = 2, order: str = "tome") -> list[int]:
    return plan_of(metric[None], r, p, order).slot(1, CPU)[0].tolist()


def limit_of_tome(n: int, p: int) -> int:
    tiny = geometry("tiny").encoder
    shape = BlockShape(num_tokens=n, num_protected=p, block=0, encoder=tiny)
    return get_method("tome").limit(shape, get_method("tome").options())


def sizes_of(plan: MergePlan) -> Tensor:
    sizes = plan.merge_sizes(None, 1, CPU)
    assert sizes is not None
    return sizes[0]


class Watch:
    """What every block of a model saw and made in its forward passes."""

    def __init__(self, model: AudioSpectrogramTransformer) -> None:
        self.qkv: list[Tensor] = []
        self._hooks = [block.attn.register_forward_hook(self._note_attention) for block in model.blocks]
        self._watch = watch_blocks()

    def _note_attention(self, _attention: Any, _args: Any, output: tuple[Tensor, tuple[Tensor, ...]]) -> None:
        self.qkv.append(torch.stack(output[1]))

    def __enter__(self) -> Watch:
        seen = self._watch.__enter__()
        self.sizes, self.plans = seen.sizes, seen.plans
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__(None, None, None)
        for hook in self._hooks:
            hook.remove()


# Protection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", range(6))
@pytest.mark.parametrize("n", [19, 20])
@pytest.mark.parametrize("order", ["tome", "position"])
def test_any_number_of_prefix_tokens_is_protected(p: int, n: int, order: str) -> None:
    """KEPT for class and distillation token; CHANGED for more: ToMe merges register tokens."""
    alike = torch.ones(n, 4)  # every token is everyone's best partner
    plan = plan_of(alike[None], limit_of_tome(n, p), p, order)
    assert plan.slot(1, CPU)[0, :p].tolist() == list(range(p))
    assert sizes_of(plan)[:p].tolist() == [1] * p
    assert sizes_of(plan).max() > 1


def test_with_one_prefix_token_the_sets_keep_their_parity() -> None:
    """KEPT: token 2 may join token 1 or 3; cutting the prefix off first would make token 1 join token 2."""
    metric = torch.tensor([[9.0, 9.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    assert slots(metric, 1, p=1) == [0, 1, 1, 2]  # class token, B = [1 with 2, 3]


# How many tokens can go -----------------------------------------------------------------------------------------------


def test_an_impossible_r_is_refused_unless_the_cap_is_asked_for() -> None:
    """CHANGED: ToMe lowers r without a word."""
    reduction = TokenReduction(schedule=Constant(48))
    with pytest.raises(ReductionError, match=r"block 10 of 12 has 82 tokens.* 466, 418, .*, 82, 42, 22, 12\.") as error:
        reduction.tokens_per_block(AST_STRIDE_16)
    assert "remove 40, not 48" in str(error.value)
    assert "excess='cap'" in str(error.value)


@pytest.mark.parametrize(
    ("n", "p", "left"),
    [(197, 1, 99), (198, 2, 100), (197, 0, 99), (198, 0, 99), (5, 3, 4), (3, 2, 3), (2, 3, 2), (1, 0, 1)],
)
def test_at_most_half_of_the_unprotected_tokens_go(n: int, p: int, left: int) -> None:
    """KEPT, for every number of prefix tokens."""
    limit = limit_of_tome(n, p)
    metric = torch.randn(1, n, 4, generator=torch.Generator().manual_seed(n))
    assert plan_of(metric, limit, p).num_slots == left
    with pytest.raises(ValueError, match=f"cannot merge {limit + 1} of {n} tokens"):
        plan_of(metric, limit + 1, p)


@pytest.mark.parametrize(
    ("shape", "n", "r", "left"),
    [
        (AST_10S, 1214, 100, 58),
        (AST_STRIDE_16, 514, 48, 12),
        (ESC_50, 602, 48, 38),
        (ESC_50, 602, 64, 8),
        (SPEECH_COMMANDS, 146, 8, 50),
        (SPEECH_COMMANDS, 146, 16, 3),
    ],
)
def test_token_counts_of_real_inputs(shape: Geometry, n: int, r: int, left: int) -> None:
    """KEPT: capped, the counts are ToMe's."""
    assert shape.num_tokens == n
    tokens = TokenReduction(schedule=Constant(r), excess="cap").tokens_per_block(shape)
    assert tokens[-1] == left == n - sum(oracle.capped(n, 2, [r] * 12))


# Schedules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [1, 8, 16, 20, 27, 40, 80])
@pytest.mark.parametrize("inflection", [-1, 0, 1])
def test_linear_schedules_round_down_as_tome_does(r: int, inflection: int) -> None:
    """KEPT, in exact arithmetic."""
    assert list(Linear(r, inflection).removals(AST_10S, 2)) == oracle.linear_schedule(r, inflection, 12)


def test_the_schedule_of_the_paper_in_numbers() -> None:
    """KEPT: 187 tokens in all, not 12 times 16."""
    assert Linear(16, -1).removals(AST_10S, 2) == (32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0)


def test_no_block_falls_a_token_short_by_rounding() -> None:
    """CHANGED: for (30, 1) floating point gives ToMe 59.999... = 59 in the last block; twice 30 is 60."""
    assert Linear(30, 1).removals(AST_10S, 2)[-1] == 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(16, -2), "inflection is -2"),
        (lambda: Linear(16, 1.5), "inflection is 1.5"),
        (lambda: Constant(-1), "r is -1"),
        (lambda: Constant(0.5), "r is 0.5"),  # type: ignore[arg-type]
        (lambda: PerBlock((4, -4)), "number 2 is -4"),
        (lambda: PerBlock((4, 0.5)), "number 2 is 0.5"),  # type: ignore[arg-type]
        (lambda: parse_schedule("constant:0.5"), "constant:0.5"),
        (lambda: parse_schedule("list:8,,8"), "list:8,,8"),
    ],
)
def test_negative_and_fractional_removals_are_refused(make: Any, message: str) -> None:
    """CHANGED: ToMe runs with negative numbers of tokens, and reads 0.5 as 0."""
    with pytest.raises(ScheduleError, match=message):
        make()


@pytest.mark.parametrize("length", [0, 11, 13])
def test_a_list_of_another_length_is_refused(length: int) -> None:
    """CHANGED: ToMe fills a short list with zeros and ignores the end of a long one."""
    with pytest.raises(ScheduleError, match=f"{length} numbers for a model of 12 blocks"):
        TokenReduction(schedule=PerBlock((8,) * length)).tokens_per_block(AST_10S)


@pytest.mark.parametrize("schedule", [Constant(8), Linear(8, -1), Linear(8, 0.5), PerBlock((8,))], ids=str)
def test_a_model_of_one_block_merges(schedule: Schedule) -> None:
    """CHANGED: ToMe divides by zero."""
    shape = Geometry(embed_dim=16, depth=1, num_heads=2, num_classes=3, num_mel_bins=48, num_frames=96)
    model = AudioSpectrogramTransformer(shape).eval()
    with reduce(model, TokenReduction(schedule=schedule)) as handle:
        assert handle.tokens_per_block == (30,)
        assert model.forward_features(torch.randn(1, 96, 48)).shape == (1, 30, 16)


# Order and maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["tome", "position"])
def test_unmerging_gives_every_token_its_group(order: str) -> None:
    """CHANGED: with two prefix tokens ToMe's unmerge hands tokens the features of others."""
    rng = torch.Generator().manual_seed(0)
    x, metric = torch.randn(1, 25, 3, generator=rng), torch.randn(1, 25, 4, generator=rng)
    plan = plan_of(metric, 9, 2, order)
    merged, _ = plan.merge(x, None)
    restored = unmerge(merged, plan.slot(1, CPU))[0].numpy()
    groups = oracle.match(metric[0].double().numpy(), 9, 2, order).slot_of
    for token in range(25):
        np.testing.assert_allclose(restored[token], x[0].numpy()[groups == groups[token]].mean(0), atol=1e-6)
    np.testing.assert_array_equal(restored[:2], x[0, :2].numpy())  # class and distillation token as they were


@pytest.mark.parametrize("p", [0, 2])
def test_unmerged_tokens_keep_their_order(p: int) -> None:
    """CHANGED for p=0: without a class token ToMe orders what is left of A by similarity."""
    metric = torch.randn(1, 31, 4, generator=torch.Generator().manual_seed(3))
    owner = plan_of(metric, 7, p).owner
    assert isinstance(owner, Tensor)
    kept = owner[0, p:]
    a, b = kept[: 16 - (p + 1) // 2 - 7], kept[16 - (p + 1) // 2 - 7 :]
    assert (a % 2 == 0).all()
    assert (a.diff() > 0).all()
    assert (b % 2 == 1).all()
    assert (b.diff() > 0).all()


def test_position_order_keeps_neighbours_in_order(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    """CHANGED: asked for, all tokens stay in the order of the spectrogram."""
    owner = torch.arange(70).expand(2, -1)
    with (
        Watch(small_model) as watch,
        reduce(small_model, TokenReduction(schedule=Constant(9), options={"order": "position"})),
    ):
        small_model(small_fbank)
    for plan in watch.plans:
        assert plan is not None
        owner = plan.take_owners(owner)
        assert (owner.diff(dim=1) > 0).all()


def test_the_source_map_is_an_index(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """CHANGED: ToMe keeps a dense (b, n, n) matrix, 270 MB for 48 clips of 1214 tokens."""
    trace = MergeTrace()
    with reduce(small_model, MERGE):
        small_model.forward_features(small_fbank, trace)
    for source, tokens in zip(trace.source, (61, 52, 43), strict=True):
        assert source.shape == (2, 70)
        assert source.dtype == torch.int32
        for clip in source:
            assert sorted(set(clip.tolist())) == list(range(tokens))


# What is compared, and how --------------------------------------------------------------------------------------------


def test_tokens_are_compared_by_the_mean_of_their_keys_in_that_block(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    """KEPT: keys of this block's attention, before the merge, averaged over heads."""
    with Watch(small_model) as watch, reduce(small_model, MERGE), torch.no_grad():
        small_model(small_fbank)
    for plan, qkv in zip(watch.plans, watch.qkv, strict=True):
        assert plan is not None
        keys = qkv[1].double().mean(1).numpy()  # (b, n, d/h)
        for clip, slot in zip(keys, plan.slot(2, CPU).numpy(), strict=True):
            matching = oracle.match(clip, 9, 2)
            assert matching.margin > 1e-6  # float32 cannot decide otherwise
            np.testing.assert_array_equal(slot, matching.slot_of)


def test_zero_keys_do_not_poison_the_others() -> None:
    """CHANGED: ToMe divides by their norm of zero, and a NaN wins every comparison."""
    metric = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    metric[[4, 7, 8]] = 0
    found = slots(metric, 5)
    assert found == oracle.match(metric.double().numpy(), 5, 2).slot_of.tolist()
    assert slots(torch.zeros(20, 4), 9) == oracle.match(np.zeros((20, 4)), 9, 2).slot_of.tolist()


def test_ties_go_to_the_first_tokens() -> None:
    """CHANGED: ToMe's sort is not stable. Equal tokens merge from the left, into the leftmost."""
    assert slots(torch.ones(12, 4), 3) == [0, 1, 4, 4, 4, 5, 4, 6, 2, 7, 3, 8]  # 2, 4 and 6 join 3


def test_the_choice_is_the_same_every_time() -> None:
    metric = torch.randint(-1, 2, (4, 402, 8), generator=torch.Generator().manual_seed(1)).float()  # full of ties
    first = plan_of(metric, 100).slot(4, CPU)
    for _ in range(5):
        assert torch.equal(plan_of(metric, 100).slot(4, CPU), first)


def test_autocast_does_not_coarsen_the_choice() -> None:
    """CHANGED: under autocast ToMe compares in bfloat16, where many different similarities tie."""
    rng = torch.Generator().manual_seed(0)
    metric = torch.randn(1, 202, 64, generator=rng) * 0.3 + torch.randn(64, generator=rng)
    expected = plan_of(metric, 50).slot(1, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        found = plan_of(metric, 50).slot(1, CPU)
    assert torch.equal(found, expected)


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [True, False])
def test_sizes_above_256_stay_whole(autocast: bool) -> None:
    """CHANGED: in bfloat16, ToMe's sizes stop counting at 256. 600 equal patches of silence; half of them join one."""
    shape = geometry("tiny", num_frames=512, num_classes=3, depth=3)
    model = AudioSpectrogramTransformer(shape).eval()
    torch.nn.init.zeros_(model.pos_embed)
    fbank = torch.zeros(1, 512, 128)
    if not autocast:
        model, fbank = model.bfloat16(), fbank.bfloat16()
    with (
        Watch(model) as watch,
        reduce(model, TokenReduction(schedule=PerBlock((300, 150, 75)))),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        torch.no_grad(),
    ):
        assert torch.isfinite(model(fbank)).all()
    for sizes, tokens in zip(watch.sizes, (302, 152, 77), strict=True):
        assert sizes is not None
        assert sizes.dtype == torch.float32
        assert sizes.shape == (1, tokens)
        assert sizes.sum() == 602
        assert sizes.max() > 256


def test_a_merge_is_averaged_in_float32() -> None:
    """CHANGED: multiplied by size in bfloat16, 300 tokens of 1.0 and one of 1.0 have a mean of 0.997."""
    plan = MergePlan(num_tokens=2, owner=torch.tensor([[0]]), merged=torch.tensor([[1]]), target=torch.tensor([[0]]))
    merged, size = plan.merge(torch.full((1, 2, 1), 1.5, dtype=torch.bfloat16), torch.tensor([[300.0, 1.0]]))
    assert merged.item() == 1.5
    assert size is not None
    assert size.item() == 301


def test_proportional_attention_is_a_choice(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """KEPT: on by default; off, the first merging block's attention still agrees, the next ones' do not."""
    with Watch(small_model) as on, reduce(small_model, MERGE):
        with_sizes = small_model(small_fbank)
    with Watch(small_model) as off, reduce(small_model, TokenReduction(schedule=Constant(9), proportional=False)):
        without = small_model(small_fbank)
    assert (with_sizes - without).abs().max() > 1e-4
    assert torch.equal(on.qkv[1], off.qkv[1])
    assert not torch.equal(on.qkv[2], off.qkv[2])
    assert off.sizes[-1] is not None  # averages are weighted all the same
    assert off.sizes[-1].sum() == 2 * 70


# No state -------------------------------------------------------------------------------------------------------------


def test_a_forward_leaves_nothing_behind(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """CHANGED: ToMe's blocks take their r from one shared list that the model's forward must fill again."""
    with reduce(small_model, MERGE), torch.no_grad():
        state = dict(vars(small_model))
        first = small_model(small_fbank)
        torch.testing.assert_close(small_model(small_fbank[:1]), first[:1])  # another batch in between
        assert torch.equal(small_model(small_fbank), first)
        assert vars(small_model) == state


def test_features_without_a_forward_before(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """CHANGED: ToMe's patch fails there, or uses the sizes of the last clip."""
    with reduce(small_model, MERGE), torch.no_grad():
        features = small_model.forward_features(small_fbank)
        assert features.shape == (2, 43, 32)
        assert torch.equal(small_model.head((features[:, 0] + features[:, 1]) / 2), small_model(small_fbank))


def test_threads_share_a_reduced_model(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """CHANGED: replicas of ToMe's patch on several devices empty one list together."""
    inputs = [small_fbank + i for i in range(8)]
    found: dict[int, Tensor] = {}

    def work(i: int) -> None:
        with torch.no_grad():
            found[i] = small_model(inputs[i])

    with reduce(small_model, MERGE):
        with torch.no_grad():
            expected = [small_model(clip) for clip in inputs]
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i, logits in enumerate(expected):
        torch.testing.assert_close(found[i], logits)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_reduced_model_are_reduced_and_independent(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor, clone: Any
) -> None:
    """CHANGED: ToMe's classes are made inside a function and do not pickle."""
    plain = small_model(small_fbank)
    with reduce(small_model, MERGE):
        merged = small_model(small_fbank)
        twin = clone(small_model)
        assert torch.equal(twin(small_fbank), merged)
    assert torch.equal(small_model(small_fbank), plain)  # removed here ...
    assert torch.equal(twin(small_fbank), merged)  # ... but not from the copy


def gradients(model: AudioSpectrogramTransformer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad.clone()
    model.zero_grad()
    return found


def test_gradient_checkpointing_gives_the_same_gradients(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    """CHANGED: recomputing a block of ToMe's patch takes the next block's r."""
    with reduce(small_model, MERGE):
        small_model(small_fbank).square().sum().backward()
        expected = gradients(small_model)

        checkpoint(small_model, small_fbank, use_reentrant=False).square().sum().backward()
        whole = gradients(small_model)

        for block in small_model.blocks:  # every block for itself
            block.forward = _checkpointed(block.forward)
        small_model(small_fbank).square().sum().backward()
        each = gradients(small_model)
    for name, gradient in expected.items():
        assert torch.equal(whole[name], gradient), name
        assert torch.equal(each[name], gradient), name
        assert gradient.abs().max() > 0 or name.endswith("bias"), name


def _checkpointed(forward: Any) -> Any:
    return lambda *args: checkpoint(forward, *args, use_reentrant=False)


def test_a_merged_tokens_gradient_is_shared_by_size() -> None:
    """KEPT: merging is average pooling to the gradient; nothing flows through the choice."""
    x = torch.zeros(1, 4, 1, requires_grad=True)
    plan = plan_of(torch.tensor([[[1.0, 0], [1, 0], [1, 0], [0, 1]]]), 2, 0)
    merged, _ = plan.merge(x, torch.tensor([[1.0, 2.0, 5.0, 3.0]]))
    slot = plan.slot(1, CPU)[0]
    assert slot[0] == slot[1] == slot[2] != slot[3]
    (gradient,) = torch.autograd.grad(merged[0, slot[0], 0], x)
    assert gradient.flatten().tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8, 0])


# Attaching ------------------------------------------------------------------------------------------------------------


def test_removing_restores_the_model_bit_for_bit(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """CHANGED: ToMe's patch cannot be taken off."""
    plain, classes = small_model(small_fbank), [type(module) for module in small_model.modules()]
    state = dict(vars(small_model))
    for attention in ("auto", "math", "value_fold"):
        handle = reduce(small_model, MERGE, attention=attention)
        assert [type(module) for module in small_model.modules()] == classes
        assert not torch.equal(small_model(small_fbank), plain)
        handle.remove()
        handle.remove()
        assert torch.equal(small_model(small_fbank), plain)
        assert vars(small_model) == state


def test_a_second_reduction_is_refused_and_the_first_stays(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    """CHANGED: a second patch sets ToMe's r back to 0."""
    with reduce(small_model, MERGE):
        merged = small_model(small_fbank)
        with pytest.raises(ReductionError, match=r"reduced already \(tome constant:9\).*remove\(\)"):
            reduce(small_model, TokenReduction(schedule=Constant(1)))
        assert torch.equal(small_model(small_fbank), merged)
    with reduce(small_model, TokenReduction(schedule=Constant(1))) as handle:
        assert handle.tokens_per_block == (69, 68, 67)


class CountOperations(TorchDispatchMode):
    """Counts what really runs."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_r_zero_costs_nothing_and_changes_nothing(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    """CHANGED: ToMe's patch at r=0 runs half as many operations again as the model without it."""
    with torch.no_grad(), CountOperations() as plain:
        expected = small_model(small_fbank)
    with torch.no_grad(), reduce(small_model, TokenReduction(schedule=Constant(0))), CountOperations() as attached:
        found = small_model(small_fbank)
    assert torch.equal(found, expected)
    assert attached.counts == plain.counts


def test_attention_stays_in_half_precision_after_a_merge(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CHANGED: under autocast ToMe's float32 sizes lift every later attention to float32."""
    seen: list[set[torch.dtype]] = []
    fused = F.scaled_dot_product_attention

    def watch(*args: Any, **kwargs: Any) -> Tensor:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        seen.append({tensor.dtype for tensor in tensors})
        return fused(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watch)
    for attention in ("mask", "key_column", "value_fold"):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), reduce(small_model, MERGE, attention=attention):
            small_model(small_fbank)
    assert seen == [{torch.bfloat16}] * 9


@pytest.mark.slow
def test_a_reduced_model_compiles_to_one_graph(small_model: AudioSpectrogramTransformer, small_fbank: Tensor) -> None:
    """KEPT: no graph breaks, and a second batch reuses the graph."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with reduce(small_model, MERGE), torch.no_grad():
        compiled = torch.compile(small_model, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(small_fbank), small_model(small_fbank))
        torch.testing.assert_close(compiled(-small_fbank), small_model(-small_fbank))
    assert len(graphs) == 1


# Padding --------------------------------------------------------------------------------------------------------------


def test_padded_silence_merges_first_and_changes_no_logit() -> None:
    """KEPT: where every patch that merges equals its partner, proportional attention gives the unmerged model."""
    shape = Geometry(embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=96)
    model = AudioSpectrogramTransformer(shape).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
        model.pos_embed.zero_()
    fbank = torch.full((1, 96, 48), -1.2, dtype=torch.float64)  # 36 patches; sound in the first 30 frames only
    fbank[:, :30] = torch.randn(1, 30, 48, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected = model(fbank)
        trace = MergeTrace()
        with reduce(model, TokenReduction(schedule=PerBlock((8, 4, 2)))):
            found = model(fbank)
            model.forward_features(fbank, trace)
    columns = torch.arange(36) % 9
    sound = 2 + torch.nonzero(columns < 3).flatten()  # patches that start before frame 30
    for source in trace.source:
        sizes = torch.bincount(source[0].long())
        assert (sizes[source[0, sound].long()] == 1).all()  # no sound was merged
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)

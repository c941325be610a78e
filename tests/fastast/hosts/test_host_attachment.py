"""A reduction on a host in place: copies, pickles, replicas, checkpoints, compilers, and what is left when it goes."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from small_hosts import logits, shaken
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.jit.frontend import NotSupportedError

import fastast
from fastast import Constant, PerBlock, ReductionError, TokenReduction
from fastast.engine import EngineFallbackWarning
from fastast.hosts import adapter_of

MERGE = TokenReduction(schedule=PerBlock((9, 7, 5)))
HUGGING_FACE = pytest.param("transformers", marks=pytest.mark.oracle)
HOSTS = ("native", "timm", "timm average", HUGGING_FACE, "a user's")


class UsersTransformer(VisionTransformer):
    """A class of a user, which is none of timm's."""


@pytest.fixture
def make(request: pytest.FixtureRequest, fbank: Tensor, picture: Tensor) -> Callable[[str], tuple[Any, Tensor]]:
    """Makes a host by name, and an input for it."""

    def build(name: str) -> tuple[Any, Tensor]:
        if name == "native":
            return request.getfixturevalue("native"), fbank
        if name == "transformers":
            return request.getfixturevalue("hugging_face")(), fbank
        kind = UsersTransformer if name == "a user's" else None
        pool = "avg" if name == "timm average" else "token"
        return request.getfixturevalue("vit")(kind, global_pool=pool), picture

    return build


@pytest.mark.parametrize("name", HOSTS)
def test_removing_restores_the_model_to_the_last_bit(make, name) -> None:
    model, inputs = make(name)
    own, kind = logits(model(inputs)), type(model)
    before = {module: dict(vars(module)) for module in model.modules()}
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with fastast.reduce(model, MERGE):
        assert not torch.allclose(logits(model(inputs)), own, atol=1e-4)
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
        assert repr(model) == repr(model).replace("Attached", "")
    assert type(model) is kind
    assert [vars(module) for module in model.modules()] == [before[module] for module in model.modules()]
    assert torch.equal(logits(model(inputs)), own)


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("how", ["copy", "pickle", "pickle of old", "torch.save"])
def test_copies_take_the_reduction_along_and_run_alone(make, name, how) -> None:
    model, inputs = make(name)
    own = logits(model(inputs))
    handle = fastast.reduce(model, MERGE)
    merged = logits(model(inputs))
    if how == "copy":
        clone = copy.deepcopy(model)
    elif how == "torch.save":
        torch.save(model, file := io.BytesIO())
        file.seek(0)
        clone = torch.load(file, weights_only=False)
    else:
        clone = pickle.loads(pickle.dumps(model, protocol=1 if how == "pickle of old" else None))
    handle.remove()
    assert torch.equal(logits(clone(inputs)), merged)
    assert torch.equal(logits(model(inputs)), own)
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.zero_()
    assert not torch.equal(logits(clone(inputs)), merged)  # it runs on its own weights
    fastast.restore(clone)
    assert type(clone) is type(model)
    assert adapter_of(clone).attached is None


@pytest.mark.parametrize("name", HOSTS)
def test_two_reductions_at_once_are_refused(make, name) -> None:
    model, _ = make(name)
    with fastast.reduce(model, MERGE), pytest.raises(ReductionError, match="reduced already .tome list:9,7,5"):
        fastast.reduce(model, TokenReduction(schedule=Constant(1)))


@pytest.mark.parametrize("name", HOSTS)
def test_an_old_handle_does_not_remove_a_new_reduction(make, name) -> None:
    model, inputs = make(name)
    first = fastast.reduce(model, MERGE)
    first.remove()
    second = fastast.reduce(model, MERGE)
    merged = logits(model(inputs))
    first.remove()
    assert torch.equal(logits(model(inputs)), merged)
    second.remove()


@pytest.mark.parametrize("name", HOSTS)
def test_an_impossible_r_leaves_the_model_as_it_was(make, name) -> None:
    model, inputs = make(name)
    own = logits(model(inputs))
    with pytest.raises(ReductionError, match="block 2 of 3 has"):
        fastast.reduce(model, TokenReduction(schedule=Constant(22)))
    assert torch.equal(logits(model(inputs)), own)


@pytest.mark.parametrize("name", HOSTS)
def test_replicas_run_on_their_own_weights(make, name, monkeypatch) -> None:
    """DataParallel's replicas, which share no parameter with the model and hold theirs as plain tensors."""
    from torch.nn.parallel import replicate

    model, inputs = make(name)
    monkeypatch.setattr(
        sys.modules["torch.nn.parallel.replicate"],
        "_broadcast_coalesced_reshape",
        lambda tensors, devices, detach=False: [[tensor * (i + 1) for tensor in tensors] for i in range(len(devices))],
    )
    with torch.no_grad(), fastast.reduce(model, MERGE):
        same, doubled = replicate(model, [0, 0])
        expected = copy.deepcopy(model)
        for parameter in expected.parameters():
            parameter.mul_(2)
        assert torch.equal(logits(same(inputs)), logits(model(inputs)))
        torch.testing.assert_close(logits(doubled(inputs)), logits(expected(inputs)))
        torch.testing.assert_close(logits(nn.DataParallel(model)(inputs)), logits(model(inputs)))


def checkpointed(model: Any, on: bool) -> None:
    """Switch gradient checkpointing as users of the library do."""
    if hasattr(model, "set_grad_checkpointing"):
        model.set_grad_checkpointing(on)
        return
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # of transformers 5, 4
    if on:
        getattr(model, f"{kind}_checkpointing_enable")(**{f"{kind}_checkpointing_kwargs": {"use_reentrant": False}})
    else:
        getattr(model, f"{kind}_checkpointing_disable")()


@pytest.mark.parametrize("name", HOSTS[1:])
def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less(make, name) -> None:
    model, inputs = make(name)
    model.train()
    with fastast.reduce(model, MERGE):
        kept, gradients = [], []
        for on in (False, True):
            checkpointed(model, on)
            model.zero_grad()
            saved: list[int] = []

            def note(tensor: Tensor, saved: list[int] = saved) -> Tensor:
                saved.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                loss = logits(model(inputs)).pow(2).sum()
            kept.append(sum(saved))
            loss.backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(gradient.any() for gradient in gradients[0])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)
    assert kept[1] < kept[0] / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTS[2:])
def test_a_compiled_host_is_one_graph_that_knows_of_the_reduction(make, name) -> None:
    model, inputs = make(name)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        own = logits(compiled(inputs))
        with fastast.reduce(model, MERGE):
            merged = logits(compiled(inputs))
            torch.testing.assert_close(merged, logits(model(inputs)))
        assert (merged - own).abs().max() > 1e-4
        torch.testing.assert_close(logits(compiled(inputs)), own)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", HOSTS[1:])
def test_the_forward_still_has_the_librarys_signature(make, name) -> None:
    model, _ = make(name)
    own = inspect.signature(model.forward)
    with fastast.reduce(model, MERGE):
        assert inspect.signature(adapter_of(model).model.forward) == own


def test_a_forward_that_is_overridden_on_the_instance_is_refused(vit) -> None:
    model = vit()
    model.forward = model.forward  # as accelerate's hooks do
    with pytest.raises(ReductionError, match="forward of this VisionTransformer is overridden on the instance"):
        fastast.reduce(model, MERGE)
    assert type(model) is VisionTransformer


def test_hooks_on_blocks_are_refused_and_on_layers_run(vit, picture) -> None:
    model, seen = vit(), []
    hook = model.blocks[1].register_forward_hook(lambda *_: seen.append("block"))
    with pytest.raises(ReductionError, match=r"blocks\.1 \(Block\) has hooks, which would not run"):
        fastast.reduce(model, MERGE)
    hook.remove()
    hook = model.blocks[1].attn.register_forward_hook(lambda *_: seen.append("attention"))
    with pytest.raises(ReductionError, match=r"blocks\.1\.attn \(Attention\) has hooks"):
        fastast.reduce(model, MERGE)
    hook.remove()
    model.blocks[0].forward = partial(model.blocks[0].forward)
    with pytest.raises(ReductionError, match=r"blocks\.0 \(Block\) has hooks"):
        fastast.reduce(model, MERGE)
    del model.blocks[0].forward
    model.blocks[1].mlp.register_forward_hook(lambda *_: seen.append("mlp"))
    seen.clear()
    with fastast.reduce(model, MERGE):
        seen.clear()
        model(picture)
    assert seen == ["mlp"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("blocks", {}), ("attn_pool", {"global_pool": "map"}), ("blocks.0.attn.attn_drop", {})],
)
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_around_blocks_are_refused_where_they_would_not_run(vit, picture, name, settings, register) -> None:
    model, seen = vit(**settings), []
    for block in model.blocks:
        block.attn.fused_attn = False  # the module of its dropout is called then
    hook = getattr(model.get_submodule(name), register)(lambda *_: seen.append(name))
    model(picture)
    assert seen == [name]
    with pytest.raises(ReductionError, match=rf"{name} \(\w+\) has hooks, which would not run"):
        fastast.reduce(model, MERGE)
    hook.remove()
    hook = model.head.register_forward_hook(lambda *_: seen.append("head"))
    with fastast.reduce(model, MERGE):
        seen.clear()
        model(picture)
    assert seen == ["head"]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_torchscript_does_not_leave_the_reduction_out(vit) -> None:
    model = vit()
    with fastast.reduce(model, MERGE), pytest.raises(NotSupportedError, match="variable number of arguments"):
        torch.jit.script(model)


class WithReduce(VisionTransformer):
    """A user's class that pickles in a way of its own."""

    def __reduce__(self) -> Any:
        return (WithReduce, ())


def test_a_class_that_pickles_in_a_way_of_its_own_is_refused_rather_than_pickled_in_part(vit) -> None:
    model = vit(WithReduce)
    with fastast.reduce(model, MERGE), pytest.raises(TypeError, match="WithReduce has a __reduce__ of its own"):
        pickle.dumps(model)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapper_is_refused_with_the_way_inside(vit, wrap) -> None:
    model = vit()
    inner = "module" if wrap is nn.DataParallel else "_orig_mod"
    with pytest.raises(ReductionError, match=f"give the model inside it, its .{inner}"):
        fastast.reduce(wrap(model), MERGE)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), torch.hub])
def test_a_model_without_a_host_is_refused_with_what_there_is(model) -> None:
    with pytest.raises(ReductionError, match=r"cannot attach to \S+; .* fastast, timm, transformers.*add_a_host.md"):
        fastast.reduce(model, MERGE)


def test_attaching_leaves_random_numbers_and_modes_alone(vit) -> None:
    model = vit().train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fastast.reduce(model, MERGE)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", HOSTS[1:])
def test_every_dtype_takes_a_reduction(make, name, dtype) -> None:
    model, inputs = make(name)
    model.to(dtype)
    with torch.no_grad(), fastast.reduce(model, MERGE):
        out = logits(model(inputs.to(dtype)))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()


def test_a_trained_host_learns_through_its_merges(vit, picture) -> None:
    model = shaken(vit(init_values=0.5, qk_norm=True, reg_tokens=1)).train()
    fastast.reduce(model, MERGE)
    model(picture).pow(2).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_model_gets_back_the_kernel_that_it_had(native) -> None:
    native.attention_kernel = "math"
    fastast.reduce(native, TokenReduction(schedule=Constant(2)))
    fastast.restore(native)
    assert native.attention_kernel == "math"


def test_a_check_of_a_host_leaves_the_random_numbers_of_gpus_alone(vit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU was seeded"))
    model, before = vit(), torch.random.get_rng_state()
    fastast.reduce(model, TokenReduction(schedule=Constant(2)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_compiled_copy_attends_as_the_reduced_model_did(vit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast.engine.compilation._SAID", set())  # a fallback is told of once per process
    model = vit()
    fastast.reduce(model, TokenReduction(schedule=Constant(2)), attention="math")
    with pytest.warns(EngineFallbackWarning):
        assert fastast.compile(model, device="cpu").kernels["attention"] == "math"

"""What modules and optimizers carry from step to step goes into a state and comes back."""

import json
import random
from collections import Counter, OrderedDict, defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from assay.training.packing import packed_attributes, restore_attributes
from assay.training.state import State
from assay.training.torch_state import module_state, optimizer_state, restore_module, restore_optimizer

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(plain, inner), max_leaves=10
)


def through(owner: object, fresh: object) -> object:
    """``fresh`` with the attributes of ``owner``, by way of JSON and of copies of the tensors."""
    tensors: dict[str, Tensor] = {}
    packed = json.loads(json.dumps(packed_attributes(owner, "own", tensors)))
    restore_attributes(fresh, packed, {name: tensor.detach().clone() for name, tensor in tensors.items()})
    return fresh


def types_of(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value), [types_of(part) for part in value]
    if isinstance(value, dict):
        return dict, [(types_of(name), types_of(part)) for name, part in value.items()]
    return type(value)


@given(values)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    back = through(SimpleNamespace(value=value), SimpleNamespace()).value
    assert back == value
    assert types_of(back) == types_of(value)


@pytest.mark.parametrize("bits", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
@pytest.mark.parametrize("draws", [0, 1, 5])
def test_numpys_generators_go_on_where_they_were(bits: str, draws: int) -> None:
    kind = getattr(np.random, bits)
    owner = SimpleNamespace(bits=kind(1), generator=np.random.Generator(kind(2)), old=np.random.RandomState(kind(3)))
    owner.bits.random_raw(draws), owner.generator.integers(9, size=draws, dtype=np.int32), owner.old.normal(size=draws)
    held = np.random.Generator(kind(5))
    fresh = SimpleNamespace(bits=kind(4), generator=held, old=np.random.RandomState(kind(6)))
    through(owner, fresh)
    assert fresh.generator is held
    assert fresh.bits.random_raw(3).tolist() == owner.bits.random_raw(3).tolist()
    assert (
        held.integers(99, size=5, dtype=np.int32).tolist()
        == owner.generator.integers(99, size=5, dtype=np.int32).tolist()
    )
    assert fresh.old.normal(size=3).tolist() == owner.old.normal(size=3).tolist()


def test_generators_of_torch_and_python_go_on_too_and_are_made_where_there_is_none() -> None:
    owner = SimpleNamespace(of=[torch.Generator().manual_seed(1), random.Random(2), np.random.default_rng(3)])
    torch.rand(3, generator=owner.of[0]), owner.of[1].gauss(0, 1), owner.of[2].normal()
    held = [torch.Generator(), random.Random(), np.random.default_rng()]
    for fresh in (SimpleNamespace(of=list(held)), SimpleNamespace(of=None)):
        through(owner, fresh)
        assert (fresh.of[0] is held[0]) == (fresh.of[1] is held[1]) == (fresh.of[2] is held[2])
    state = owner.of[0].get_state()
    drawn = torch.rand(4, generator=owner.of[0]), owner.of[1].gauss(0, 1), owner.of[2].normal(size=2).tolist()
    owner.of[0].set_state(state)
    assert torch.equal(torch.rand(4, generator=fresh.of[0]), drawn[0])
    assert (fresh.of[1].gauss(0, 1), fresh.of[2].normal(size=2).tolist()) == drawn[1:]
    assert torch.equal(torch.rand(4, generator=held[0]), drawn[0])


def test_arrays_and_tensors_keep_type_shape_and_whoever_else_holds_them() -> None:
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    array.flags.writeable = False
    owner = SimpleNamespace(array=array, mean=np.float32(0.1), weight=torch.ones(2, requires_grad=True), view=None)
    owner.view = torch.ones(1).expand(3)
    live = torch.zeros(2)
    fresh = through(owner, SimpleNamespace(array=None, mean=None, weight=live, view=torch.zeros(1).expand(3)))
    assert (fresh.array.dtype, fresh.array.tolist()) == (array.dtype, array.tolist())
    assert (type(fresh.mean), fresh.mean) == (np.float32, owner.mean)
    assert fresh.weight is live
    assert live.tolist() == [1, 1]
    assert fresh.view.tolist() == [1, 1, 1]


def test_other_collections_come_back_as_they_were_in_place_and_where_there_are_none() -> None:
    kept = {
        "deque": deque([1, torch.ones(2), 3.5], maxlen=3),
        "endless": deque([1]),
        "ordered": OrderedDict(b=1, a=[2]),
        "counter": Counter("abca"),
        "set": {1, 2.5, "a", None},
        "frozen": frozenset({3}),
        "bytes": b"\x00\xff",
        "bytearray": bytearray(b"ab"),
    }
    held = {name: deque(maxlen=3) if name == "deque" else type(value)() for name, value in kept.items()}
    for fresh in (SimpleNamespace(**held), SimpleNamespace(), SimpleNamespace(**{key: deque([9]) for key in kept})):
        through(SimpleNamespace(**kept), fresh)
        for name, value in kept.items():
            found = getattr(fresh, name)
            assert (type(found), len(found)) == (type(value), len(value)), name
            assert name == "deque" or found == value
        assert fresh.deque.maxlen == 3
        assert (fresh.deque[0], fresh.deque[1].tolist(), fresh.deque[2]) == (1, [1, 1], 3.5)
        assert list(fresh.ordered) == ["b", "a"]
        assert list(fresh.endless) == [1]
        assert fresh.endless.maxlen is None
    changed_in_place = {"deque", "endless", "ordered", "counter", "set", "bytearray"}
    through(SimpleNamespace(**kept), fresh := SimpleNamespace(**held))
    assert {name for name in kept if getattr(fresh, name) is held[name]} >= changed_in_place


def test_a_dictionary_with_a_default_keeps_it() -> None:
    owner, held = SimpleNamespace(seen=defaultdict(int, a=3)), defaultdict(list, b=[1])
    fresh = through(owner, SimpleNamespace(seen=held))
    assert fresh.seen is held
    assert held == {"a": 3}
    assert held["new"] == []
    with pytest.raises(ValueError, match="a dictionary with a default is to be there already"):
        through(owner, SimpleNamespace(seen={}))


def test_what_is_held_by_others_changes_in_place() -> None:
    shared_list, shared_dict = [0], {"a": 0}
    through(SimpleNamespace(one=[1, 2], two={"b": 3}), SimpleNamespace(one=shared_list, two=shared_dict))
    assert (shared_list, shared_dict) == ([1, 2], {"b": 3})


def test_what_cannot_be_kept_is_left_as_it_is() -> None:
    endless: list[object] = []
    endless.append(endless)
    unkept = {
        "function": len,
        "text": np.array(["a"]),
        "endless": endless,
        "inside": [1, object()],
        "keys": {(1, 2): 3},
        "set": {(1, 2)},
        "deque": deque([object()]),
    }
    tensors: dict[str, Tensor] = {}
    assert packed_attributes(SimpleNamespace(**unkept), "own", tensors) == {}
    fresh = SimpleNamespace(function=max)
    assert through(SimpleNamespace(function=len), fresh).function is max


# --- modules and optimizers -------------------------------------------------------------------------------------------


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.register_buffer("grows", None)


def copied(state: State) -> State:
    facts = json.loads(json.dumps(state.facts))
    return State(tensors={name: tensor.detach().clone() for name, tensor in state.tensors.items()}, facts=facts)


def test_a_module_comes_back_with_its_hidden_buffers_and_modes() -> None:
    model, fresh = Buffered(), Buffered()
    model.layers(torch.randn(4, 2))
    model.hidden += 1
    model.grows = torch.arange(5)
    model.eval()
    model.layers[2].train()
    model.layers[0].bias.requires_grad_(False)
    fresh.layers[1].bias.requires_grad_(False)
    weight = fresh.layers[0].weight
    restore_module(fresh, copied(module_state(model)))
    assert fresh.layers[0].weight is weight
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert torch.equal(tensor, dict([*fresh.named_parameters(), *fresh.named_buffers()])[name]), name
    assert [module.training for module in fresh.modules()] == [False, False, False, False, True]
    assert [name for name, parameter in fresh.named_parameters() if not parameter.requires_grad] == ["layers.0.bias"]


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, dtype=torch.float64)])
def test_a_state_of_another_module_is_refused(other: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"the names differ: bias|is torch.float32 of shape \(2"):
        restore_module(nn.Linear(2, 2), copied(module_state(other)))


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1, fused=True),
    "amsgrad": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, amsgrad=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.1, centered=True),
    "asgd": lambda parameters: torch.optim.ASGD(parameters, lr=0.1),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_takes_the_same_steps_afterwards(name: str) -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(3, 2) for _ in range(6)]

    def step(optimizer: torch.optim.Optimizer, weight: Tensor, gradient: Tensor) -> None:
        weight.grad = gradient.clone()
        optimizer.step()

    weight, late = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(2))  # one that has no gradient yet
    optimizer = OPTIMIZERS[name]([weight, late])
    for gradient in gradients[:3]:
        step(optimizer, weight, gradient)
    other_weight, other_late = nn.Parameter(weight.detach().clone()), nn.Parameter(torch.zeros(2))
    other = OPTIMIZERS[name]([other_weight, other_late])
    restore_optimizer(other, copied(optimizer_state(optimizer)))
    for gradient in gradients[3:]:
        late.grad, other_late.grad = torch.ones(2), torch.ones(2)
        step(optimizer, weight, gradient)
        step(other, other_weight, gradient)
    assert torch.equal(weight, other_weight)
    assert torch.equal(late, other_late)
    with pytest.raises(ValueError, match="there are 1 parameters to optimise, not 2"):
        restore_optimizer(OPTIMIZERS[name]([weight]), optimizer_state(optimizer))

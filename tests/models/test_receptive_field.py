"""Receptive fields against what gradients say, of chains by the formula and of networks with branches one by one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from assay.models.anatomy import dissect

HEIGHT, WIDTH = 22, 18


class Of(nn.Module):
    """Layers, and a function that calls them."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def conv(channels=4, maps=4, kernel=3, **options):
    return nn.Conv2d(channels, maps, kernel, **options)


def field_and_stride(model, shape=(4, HEIGHT, WIDTH)):
    anatomy = dissect(nn.Sequential(model, nn.Identity()), shape)
    row = next(row for row in anatomy.rows if row.name == "1")
    return row.receptive_field, row.stride


def seen_by_each(model, shape=(4, HEIGHT, WIDTH)):
    """How many rows, and columns, from the first to the last that it depends on, of each element of the output."""
    torch.manual_seed(0)
    model = model.double().eval()
    x = torch.randn(1, *shape, dtype=torch.float64, requires_grad=True)
    output = model(x).flatten()
    picked = torch.randperm(len(output))[:100]  # enough to find the largest
    one_by_one = functional.one_hot(picked, len(output)).double()
    (gradients,) = torch.autograd.grad(output, x, one_by_one, is_grads_batched=True)
    touched = gradients[:, 0].ne(0).any(1)
    return [tuple(_extent(each.any(axis)) for axis in (1, 0)) for each in touched]


def _extent(touched: Tensor) -> int:
    places = touched.nonzero().flatten()
    return int(places[-1] - places[0]) + 1 if len(places) else 0


def shuffled(x):
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def to_depth(x):
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // 2, 2, width // 2, 2)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * 4, height // 2, width // 2)


def attention(module, x):
    tokens = module.patches(x).flatten(2).transpose(1, 2)
    return module.attention(tokens, tokens, tokens)[0]


def window_attention(module, x):
    """Within windows of 3×3 after a patch of 2×2."""
    x = module.patches(x)[:, :, :9, :9]
    batch, channels, height, width = x.shape
    windows = x.view(batch, channels, height // 3, 3, width // 3, 3).permute(0, 2, 4, 3, 5, 1)
    windows = windows.reshape(-1, 9, channels)
    weights = (windows @ windows.transpose(1, 2)).softmax(-1)
    windows = (weights @ windows).view(batch, height // 3, width // 3, 3, 3, channels)
    return x + windows.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


EXACT = {
    "residual": Of(lambda m, x: m.second(m.first(x).tanh()) + x, first=conv(padding=1), second=conv(padding=1)),
    "residual in place": Of(lambda m, x: m.first(x).add_(m.second(x)), first=conv(padding=1), second=conv(kernel=1)),
    "shortcut of another stride": Of(
        lambda m, x: m.second(m.first(x)) + m.shortcut(x),
        first=conv(padding=1, stride=2),
        second=conv(padding=1),
        shortcut=conv(kernel=1, stride=2),
    ),
    "inception": Of(
        lambda m, x: m.after(torch.cat([m.one(x), m.three(x), m.five(x), m.pool(x)], dim=1)),
        one=conv(kernel=1),
        three=conv(kernel=(3, 1), padding=(1, 0)),
        five=conv(kernel=5, padding=2),
        pool=nn.AvgPool2d(3, stride=1, padding=1),
        after=conv(16, 2, kernel=2, stride=2),
    ),
    "subsampled, with channels of zeros": Of(
        lambda m, x: functional.pad(m.first(x)[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)), first=conv(padding=1)
    ),
    "dilated": nn.Sequential(conv(dilation=3), conv(kernel=(2, 3), dilation=(2, 1), stride=(1, 2))),
    "depthwise and pointwise": nn.Sequential(conv(groups=4, stride=2), conv(kernel=1), conv(groups=2)),
    "padded by hand": Of(lambda m, x: m.first(functional.pad(x, (3, 0, 0, 2))), first=conv(kernel=5)),
    "reflected": nn.Sequential(nn.ReflectionPad2d(2), conv(kernel=5, stride=3)),
    "turned round": Of(lambda m, x: m.first(x) + m.first(x.flip(-1).flip(-1)), first=conv(kernel=(5, 3))),
    "rows and columns exchanged": Of(lambda m, x: m.first(x.transpose(2, 3)), first=conv(kernel=(5, 1), stride=(2, 1))),
    "channels last": Of(
        lambda m, x: m.norm(m.mix(m.first(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        first=conv(kernel=7, padding=3, groups=4),
        mix=nn.Linear(4, 6),
        norm=nn.LayerNorm(6),
    ),
    "channels shuffled": Of(lambda m, x: m.second(shuffled(m.first(x))), first=conv(groups=2), second=conv(stride=2)),
    "channels split": Of(
        lambda m, x: torch.cat([m.first(x.chunk(2, dim=1)[0]), x.chunk(2, dim=1)[1]], dim=1),
        first=conv(2, 2, padding=1),
    ),
    "space to depth": Of(lambda m, x: m.first(to_depth(x)), first=conv(16, 4)),
    "scaled by channel": Of(lambda m, x: m.norm(m.first(x)) * 2.0 + 1.0, first=conv(), norm=nn.BatchNorm2d(4)),
    "response normalised": nn.Sequential(conv(), nn.LocalResponseNorm(3), nn.GELU()),
    "patches as tokens": Of(
        lambda m, x: m.norm(m.patches(x).flatten(2).transpose(1, 2)),
        patches=conv(kernel=4, stride=4),
        norm=nn.LayerNorm(4),
    ),
    "pooled to a size that divides": nn.Sequential(conv(kernel=5, padding=2), nn.AdaptiveAvgPool2d((11, 6))),
    "pooled to a size that does not": nn.Sequential(conv(kernel=5, padding=2), nn.AdaptiveAvgPool2d((7, 5))),
    "flattened": nn.Sequential(conv(kernel=5, stride=2), nn.Flatten()),
    "stacked": Of(
        lambda m, x: torch.stack([m.first(x), m.second(x)]).mean(0), first=conv(padding=1), second=conv(kernel=1)
    ),
    "the middle row and column": Of(lambda m, x: m.first(x)[:, :, 8, 5], first=conv(kernel=(3, 5))),
    "windows of attention": Of(window_attention, patches=conv(kernel=2, stride=2)),
}

WHOLE = {
    "linear": nn.Sequential(conv(), nn.Flatten(), nn.Linear(4 * 20 * 16, 3)),
    "global pooling": nn.Sequential(conv(padding=1), nn.AdaptiveAvgPool2d(1)),
    "mean over the map": Of(lambda m, x: m.last(m.first(x).mean((2, 3))), first=conv(), last=nn.Linear(4, 2)),
    "squeeze and excite": Of(lambda m, x: x * m.gate(x.mean((2, 3), keepdim=True)).sigmoid(), gate=conv(kernel=1)),
    "attention": Of(
        attention, patches=conv(kernel=6, stride=4), attention=nn.MultiheadAttention(4, 2, batch_first=True)
    ),
    "attention by hand": Of(
        lambda m, x: (m.first(x).flatten(2).transpose(1, 2) @ m.first(x).flatten(2)).softmax(-1),
        first=conv(kernel=6, stride=4),
    ),
    "normalised over the map": nn.Sequential(conv(), nn.GroupNorm(1, 4)),
    "instance norm": nn.Sequential(conv(), nn.InstanceNorm2d(4)),
    "all but the edge by a linear layer": nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 11 * 9, 2)),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_field_is_as_large_as_the_gradients_say(name):
    field, _ = field_and_stride(EXACT[name])
    rows, columns = zip(*seen_by_each(EXACT[name]), strict=True)
    assert field == (max(rows), max(columns))
    assert max(rows) < HEIGHT
    assert max(columns) < WIDTH


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_image_is_seen_where_gradients_reach_all_of_it(name):
    assert field_and_stride(WHOLE[name]) == (("whole", "whole"), (None, None))
    assert set(seen_by_each(WHOLE[name])) == {(HEIGHT, WIDTH)}


STRIDES = {
    "shortcut of another stride": (2, 2),
    "inception": (2, 2),
    "dilated": (1, 2),
    "rows and columns exchanged": (1, 2),  # its rows run along the image's columns
    "channels last": (1, 1),
    "space to depth": (2, 2),
    "subsampled, with channels of zeros": (2, 2),
    "pooled to a size that does not": (None, None),
    "pooled to a size that divides": (2, 3),
    "flattened": (None, None),
    "patches as tokens": (None, None),
}


@pytest.mark.parametrize("name", STRIDES)
def test_a_stride_is_how_far_neighbours_are_apart(name):
    assert field_and_stride(EXACT[name])[1] == STRIDES[name]


def scattered(module, x):
    y = torch.zeros(1, 4, HEIGHT, WIDTH, device=x.device, dtype=x.dtype)
    y[:, :, 1:-1, 1:-1] = module.first(x)
    return y


def written_through_a_view(module, x):
    y = module.first(x)
    y[:, :, :3] = module.first(x).flip(2)[:, :, :3]
    return y


UNKNOWN = {
    "transposed": nn.Sequential(conv(), nn.ConvTranspose2d(4, 4, 3, stride=2)),
    "interpolated": nn.Sequential(conv(), nn.Upsample(scale_factor=2)),
    "two windows": Of(lambda m, x: m.first(x) + m.first(x).flip(2), first=conv()),
    "scattered into zeros": Of(scattered, first=conv()),
    "written through a view": Of(written_through_a_view, first=conv()),
    "gathered": Of(lambda m, x: m.first(x)[:, :, torch.tensor([3, 1, 2])], first=conv()),
    "side by side": Of(
        lambda m, x: m.last(torch.cat([x[:, :, :9], m.first(x)], dim=2)), first=conv(padding=1), last=conv()
    ),
    "summed up": Of(lambda m, x: m.first(x).cumsum(2), first=conv()),
    "weights made of the image": Of(lambda m, x: functional.conv2d(x, x[:, :, :3, :3]), first=conv()),
    "rolled, then convolved": Of(lambda m, x: m.first(x.roll(3, 2)), first=conv()),
    "unfolded": nn.Unfold(3),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_window_is_unknown_and_never_wrong(name):
    field, stride = field_and_stride(UNKNOWN[name])
    assert None in field
    assert None in stride


def test_unknown_ends_where_everything_is_seen():
    """Tokens beside a class token are no map any more, but what attends to them all sees all."""

    def forward(m, x):
        tokens = m.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([m.token.weight[None], tokens], dim=1)
        return m.attention(m.norm(tokens), tokens, tokens)[0][:, 0]

    model = Of(
        forward,
        patches=conv(kernel=4, stride=3),
        token=nn.Linear(4, 1),
        norm=nn.LayerNorm(4),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
    )
    rows = {row.name: row for row in dissect(model, (4, HEIGHT, WIDTH)).rows}
    assert rows["norm"].receptive_field == (4, 4)
    assert rows["norm"].stride == (None, None)
    assert rows["attention"].receptive_field == ("whole", 16)  # patches leave out two columns
    assert set(seen_by_each(model)) == {(HEIGHT, 16)}


def test_a_window_that_cannot_reach_the_edge_is_told_from_the_whole():
    """Stride 3 leaves the last row and column unseen."""
    model = nn.Sequential(conv(kernel=3, stride=3), nn.Flatten(), nn.Linear(4 * 7 * 6, 2))
    assert field_and_stride(model) == ((21, "whole"), (None, None))
    assert set(seen_by_each(model)) == {(21, 18)}


def test_parts_of_unequal_size_together_see_what_they_saw():
    """Seven rows and six columns pooled to four of either, and then to one: 21 of 22 rows."""
    model = nn.Sequential(conv(kernel=3, stride=3), nn.AdaptiveAvgPool2d(4), nn.AdaptiveAvgPool2d(1))
    assert field_and_stride(model) == ((21, "whole"), (None, None))
    assert max(rows for rows, _ in seen_by_each(model)) == 21


def test_what_is_unknown_leaves_the_rest_known():
    rows = {row.name: row for row in dissect(UNKNOWN["two windows"], (4, HEIGHT, WIDTH)).rows}
    assert (rows["first"].receptive_field, rows["first"].stride) == ((3, 3), (1, 1))


def test_a_constant_sees_nothing():
    model = Of(lambda m, x: m.first(torch.ones_like(x)), first=conv())
    assert field_and_stride(model) == ((None, None), (None, None))


layers = st.lists(
    st.tuples(
        st.sampled_from(["conv", "pool"]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        st.tuples(st.integers(1, 3), st.integers(1, 3)),
        st.integers(0, 2),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(layers)
def test_chains_follow_the_formula(chain):
    """Field r and stride s: r + (k − 1)·d·s and s·t for a kernel k of dilation d and stride t (Araujo et al. 2019)."""
    modules, expected = [], []
    field, stride = [1, 1], [1, 1]
    for kind, kernel, step, padding, dilation in chain:
        if kind == "conv":
            modules.append(nn.Conv2d(2, 2, kernel, stride=step, padding=padding, dilation=dilation))
        else:
            padding = min(padding, *(side // 2 for side in kernel))
            modules.append(nn.MaxPool2d(kernel, stride=step, padding=padding, dilation=dilation))
        for axis in (0, 1):
            field[axis] += (kernel[axis] - 1) * dilation * stride[axis]
            stride[axis] *= step[axis]
        expected.append((tuple(field), tuple(stride)))
    large = (2, 9_000, 9_000)  # no window reaches the edges, and nothing is computed
    rows = dissect(nn.Sequential(*modules), large).rows
    assert [(row.receptive_field, row.stride) for row in rows] == expected


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_views_keep_what_each_element_sees(data):
    """However a map is taken apart and put together, each element sees what it saw."""
    shape = (1, 4, 6, 10)
    numbers = [2, 2, 2, 3, 2, 5]
    order = data.draw(st.permutations(range(6)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 5))))

    back = sorted(range(6), key=order.__getitem__)
    merged = [math.prod(numbers[at] for at in order[a:b]) for a, b in itertools.pairwise([0, *cuts, 6])]

    def forward(m, x):
        x = m.first(x).view(numbers).permute(order)
        x = x.reshape(merged).tanh().reshape([numbers[at] for at in order])
        return m.second(x.permute(back).reshape(shape))

    model = Of(forward, first=conv(padding=1), second=conv(padding=1, stride=(1, 2)))
    assert field_and_stride(model, (4, 6, 10)) == ((5, 5), (1, 2))

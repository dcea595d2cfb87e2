import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.batches import batch_bounds, batches
from assay.recipe.streams import stream


@given(examples=st.integers(1, 500), batch_size=st.integers(1, 600))
@settings(max_examples=300)
def test_batches_cover_every_example_once_and_none_is_single_unless_asked(examples, batch_size):
    bounds = batch_bounds(examples, batch_size)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(examples))
    sizes = [stop - start for start, stop in bounds]
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and examples > 1:
        assert min(sizes) > 1


def test_a_single_last_example_joins_the_batch_before_it():
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 2), (2, 3)]


def test_every_epoch_has_the_order_of_its_own_substream():
    inputs_ND, labels_N = torch.arange(20.0).reshape(10, 2), torch.arange(10)
    drawn = list(batches(inputs_ND, labels_N, batch_size=4, epochs=2, seed=5))
    assert [len(y_B) for _, y_B in drawn] == [4, 4, 2] * 2
    for epoch in (1, 2):
        order = torch.cat([y_B for _, y_B in drawn[3 * (epoch - 1) : 3 * epoch]]).numpy()
        np.testing.assert_array_equal(order, stream(5, "order", epoch).permutation(10))
    for x_BD, y_B in drawn:
        assert torch.equal(x_BD, inputs_ND[y_B])

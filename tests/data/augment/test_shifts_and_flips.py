import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_batches import uint8_batches
from torchvision.transforms.v2 import functional as torchvision

from assay.data.augment.shifts_and_flips import flip, pad_and_crop

MODES = {"zeros": "constant", "reflect": "reflect"}


@pytest.mark.parametrize("fill", MODES)
@given(
    batch=uint8_batches(channels=(1, 2, 3), most=4), data=st.data(), dtype=st.sampled_from([torch.uint8, torch.float64])
)
@settings(max_examples=40, deadline=None)
def test_each_images_window_of_its_padded_self_is_torchvisions_to_the_last_bit(fill, batch, data, dtype):
    height, width = batch.shape[2:]
    most = 12 if fill == "zeros" else min(height, width) - 1
    padding = data.draw(st.integers(0, most))
    offsets = st.lists(st.integers(0, 2 * padding), min_size=len(batch), max_size=len(batch))
    top_B, left_B = np.array(data.draw(offsets)), np.array(data.draw(offsets))
    x_BCHW = batch.to(dtype)
    before = x_BCHW.clone()
    cut = pad_and_crop(x_BCHW, top_B, left_B, padding, fill)
    assert torch.equal(x_BCHW, before)
    for one, image, top, left in zip(cut, x_BCHW, top_B.tolist(), left_B.tolist(), strict=True):
        padded = torchvision.pad(image, [padding] * 4, padding_mode=MODES[fill])
        assert torch.equal(one, torchvision.crop(padded, top, left, height, width))


@pytest.mark.parametrize(
    ("axis", "mirror"), [("horizontal", torchvision.horizontal_flip), ("vertical", torchvision.vertical_flip)]
)
@given(
    batch=uint8_batches(channels=(1, 2, 3), most=4), data=st.data(), dtype=st.sampled_from([torch.uint8, torch.float32])
)
@settings(max_examples=40, deadline=None)
def test_the_chosen_images_are_mirrored_and_the_others_are_not(axis, mirror, batch, data, dtype):
    chosen_B = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))))
    x_BCHW = batch.to(dtype)
    expected = [mirror(image) if chosen else image.clone() for image, chosen in zip(x_BCHW, chosen_B, strict=True)]
    assert torch.equal(flip(x_BCHW, chosen_B, axis), torch.stack(expected))

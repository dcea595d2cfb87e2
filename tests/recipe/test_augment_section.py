import pytest

from assay.errors import InvalidValueError
from assay.recipe.schema import AUGMENTATIONS, Augment, Recipe


def recipe_with(**augment):
    return Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": "mlp"}, "augment": augment})


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            {"resized_crop_area": [0.5, 0.2]},
            "augment.resized_crop_area must be the least value and the greatest, got [0.5, 0.2].",
        ),
        (
            {"resized_crop_area": [0.5, 1.2]},
            "augment.resized_crop_area must be shares of at most 1, got [0.5, 1.2].",
        ),
        ({"erasing_area": [0.1, 1.01]}, "augment.erasing_area must be shares of at most 1, got [0.1, 1.01]."),
        ({"erasing_ratio": [3, 1]}, "augment.erasing_ratio must be the least value and the greatest, got [3.0, 1.0]."),
        ({"resized_crop_ratio": [0, 1]}, "augment.resized_crop_ratio[0] must be greater than 0, got 0."),
        ({"resized_crop_area": [0.5]}, "augment.resized_crop_area[1] is missing; it has no default."),
        (
            {"alternating_flip": True, "horizontal_flip": 0.5},
            "augment.alternating_flip takes the place of augment.horizontal_flip, got 0.5 there. "
            "Leave one of them out.",
        ),
        ({"vertical_flip": 1.5}, "augment.vertical_flip must be at most 1.0, got 1.5."),
        ({"contrast": 1.1}, "augment.contrast must be at most 1.0, got 1.1."),
        ({"rand_augment_magnitude": 31}, "augment.rand_augment_magnitude must be at most 30, got 31."),
        ({"rand_augment_operations": 0}, "augment.rand_augment_operations must be at least 1, got 0."),
        ({"noise": -1.0}, "augment.noise must be at least 0, got -1.0."),
        ({"cutmix": -0.1}, "augment.cutmix must be at least 0, got -0.1."),
        ({"rotation": 200}, "augment.rotation must be at most 180.0, got 200."),
    ],
)
def test_settings_that_cannot_be_are_refused_with_their_rule(augment, message):
    with pytest.raises(InvalidValueError) as raised:
        recipe_with(**augment)
    assert str(raised.value) == message


def test_another_name_of_an_augmentation_leads_to_ours():
    with pytest.raises(InvalidValueError) as raised:
        recipe_with(rotate=5)
    assert str(raised.value) == 'augment.rotate is not a known key.\n  Did you mean "rotation"?'


def test_an_arm_may_switch_an_augmentation_off_whose_settings_the_base_keeps():
    assert recipe_with(erasing=0, erasing_area=[0.1, 0.2]).augment.erasing_area == (0.1, 0.2)
    assert recipe_with(policy="none", rand_augment_magnitude=5).augment.rand_augment_magnitude == 5
    assert not recipe_with(erasing=0, erasing_area=[0.1, 0.2]).augment.active


def test_every_switch_is_a_field_and_all_are_off_at_first():
    assert set(AUGMENTATIONS) <= set(Augment.model_fields)
    assert not Augment().active
    assert [name for name in Augment.model_fields if name in AUGMENTATIONS] == list(AUGMENTATIONS)

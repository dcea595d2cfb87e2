"""Equal and nearly equal images: every planted pair is found, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
from changed_copies import CHANGES, brightened, saved_again, scenes
from hypothesis import given
from hypothesis import strategies as st

from assay.data.duplicates import (
    Thresholds,
    _compare_rows,
    _Prints,
    clusters,
    content_digest,
    equal_groups,
    flat,
    near_pairs,
    thumbnail,
)


def found_among(images: list[np.ndarray], **options: object) -> dict[tuple[int, int], bool]:
    thumbnails_NTT = np.stack([thumbnail(image) for image in images])
    found = {}
    for part in near_pairs(thumbnails_NTT, **options):  # type: ignore[arg-type]
        for (first, second), mirrored in zip(part.pairs_M2.tolist(), part.mirrored_M.tolist(), strict=True):
            found[first, second] = mirrored
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_copy_is_found_and_nothing_else(change: str) -> None:
    originals = scenes(60)
    copies = [CHANGES[change](image) for image in originals[:20]]
    found = found_among([*originals, *copies])
    assert set(found) == {(at, 60 + at) for at in range(20)}
    assert all(mirrored == change.startswith("mirrored") for mirrored in found.values())


def test_mirrored_copies_are_left_alone_when_asked() -> None:
    originals = scenes(20)
    copies = [image[:, :, ::-1] for image in originals] + [brightened(image, 1.1) for image in originals]
    found = found_among([*originals, *copies], mirrored=False)
    assert {(at, 40 + at) for at in range(20)} <= set(found)
    assert not any(20 <= second < 40 for _, second in found)


def test_flat_images_are_near_nothing() -> None:
    images = [np.full((3, 16, 16), grey, dtype=np.uint8) for grey in (0, 0, 1, 128, 255)]
    assert flat(np.stack([thumbnail(image) for image in images])).all()
    assert found_among([*images, *scenes(3, side=16)]) == {}


def test_nothing_to_compare_yields_nothing() -> None:
    assert found_among([np.zeros((3, 8, 8), dtype=np.uint8)]) == {}
    assert found_among([scenes(1)[0]]) == {}


def test_blocks_of_rows_and_columns_miss_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = scenes(40)
    images = [*originals, *(saved_again(image) for image in originals)]
    whole = found_among(images)
    monkeypatch.setattr("assay.data.duplicates._ROWS", 7)
    monkeypatch.setattr("assay.data.duplicates._COLUMNS", 11)
    monkeypatch.setattr("assay.data.duplicates._PAIRS_AT_ONCE", 3)
    assert found_among(images) == whole
    assert len(whole) >= 40


def test_candidates_are_exactly_the_pairs_whose_spectra_correlate() -> None:
    thumbnails_NTT = np.stack([thumbnail(image) for image in scenes(80, side=32)])
    prints = _Prints.of(thumbnails_NTT)
    limits = Thresholds(spectrum=0.6, blurred=-2.0, detail=-2.0)
    pairs_M2, _, _ = _compare_rows(prints, 0, limits, mirrored=False)
    correlation_NN = np.corrcoef(prints.spectrum_NF)
    expected = {(i, j) for i, j in np.argwhere(correlation_NN > 0.6).tolist() if i < j}
    assert set(map(tuple, pairs_M2.tolist())) == expected
    assert expected


def test_progress_rises_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.data.duplicates._ROWS", 8)
    shares = [part.done for part in near_pairs(np.stack([thumbnail(image) for image in scenes(30)]))]
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1.0


def test_a_digest_tells_size_and_pixels_and_not_colour_mode() -> None:
    image = scenes(1)[0]
    grey = np.repeat(image[:1], 3, axis=0)
    assert content_digest(image) == content_digest(image.copy())
    assert content_digest(image) == content_digest(np.asfortranarray(image))
    assert content_digest(grey) == content_digest(image[:1])
    assert content_digest(image) != content_digest(image.reshape(3, 32, 128))
    other = image.copy()
    other[2, 5, 5] ^= 1
    assert content_digest(image) != content_digest(other)


def test_equal_images_form_groups() -> None:
    assert equal_groups([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]
    assert equal_groups([b"a", b"b"]) == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] != p[1]), max_size=30))
def test_clusters_are_the_connected_parts(pairs: list[tuple[int, int]]) -> None:
    found = clusters(pairs)
    cluster_of = {member: at for at, cluster in enumerate(found) for member in cluster}
    assert sorted(member for cluster in found for member in cluster) == sorted({m for pair in pairs for m in pair})
    assert all(cluster_of[first] == cluster_of[second] for first, second in pairs)
    reach = np.eye(13, dtype=bool)
    for first, second in pairs:
        reach[first, second] = reach[second, first] = True
    for _ in range(4):
        reach = reach @ reach
    assert all(reach[cluster[0], member] for cluster in found for member in cluster)
    assert found == sorted(found)

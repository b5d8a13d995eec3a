import numpy as np
import pytest
from generated_data import save
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from atrous.data.masks import class_numbers, expected_values, foreign_values, ranges, read_mask
from atrous.errors import DataError, ImageError
from atrous.labels import CAMVID, Labels

THREE = Labels(names=("a", "b", "c"))


def test_void_and_mapped_values(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 10, 11, 255]], np.uint8))
    read = read_mask(path, labels=CAMVID, class_map={11: 255})
    assert read.tolist() == [[0, 10, 255, 255]]
    assert read.dtype == np.uint8


def test_foreign_value_is_an_error_that_says_where(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 7, 0], [9, 7, 1]], np.uint8))
    with pytest.raises(DataError) as caught:
        read_mask(path, labels=THREE, class_map={})
    assert str(caught.value) == (
        f"{path}: value 7 in 2 pixels, first at (y=0, x=1); value 9 in 1 pixels, first at (y=1, x=0); "
        "expected 0-2 or 255 (void). Run `atrous check DIR` to list every such file."
    )
    assert not isinstance(caught.value, ImageError)


def test_many_foreign_values_are_not_all_listed(tmp_path):
    path = save(tmp_path / "m.png", np.arange(100, dtype=np.uint8).reshape(10, 10))
    with pytest.raises(DataError, match="; 92 more; expected 0-2 or 255"):
        read_mask(path, labels=THREE, class_map={})


def test_sixteen_bit_masks_with_many_classes(tmp_path):
    labels = Labels.numbered(300)
    path = save(tmp_path / "m.png", np.array([[0, 255, 299, 65535, 1000]], np.uint16))
    read = read_mask(path, labels=labels, class_map={1000: 1})
    assert read.tolist() == [[0, 255, 299, 65535, 1]]
    assert read.dtype == np.uint16


def test_sixteen_bit_file_with_few_classes_gives_bytes(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 2, 255, 1000]], np.uint16))
    read = read_mask(path, labels=THREE, class_map={1000: 2})
    assert read.tolist() == [[0, 2, 255, 2]]
    assert read.dtype == np.uint8


@pytest.mark.parametrize("labels", [Labels(names=("a",), ignore_index=-1), Labels(names=("a",), ignore_index=70000)])
def test_ignore_index_must_fit_into_a_mask(labels):
    with pytest.raises(ValueError, match="16 bits"):
        class_numbers(np.zeros((1, 1), np.uint8), labels=labels, class_map={})


def test_map_to_no_class_is_refused():
    with pytest.raises(ValueError, match="sends 4 to 3"):
        class_numbers(np.zeros((1, 1), np.uint8), labels=THREE, class_map={4: 3})


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        arrays.array_shapes(min_dims=2, max_dims=2),
        elements=st.integers(0, 255),
    ),
    st.dictionaries(st.integers(0, 255), st.sampled_from([0, 1, 2, 255])),
)
def test_table_equals_the_plain_rule(raw, class_map):
    def rule(value):
        return class_map.get(value, value if value in (0, 1, 2, 255) else None)

    wanted = [[rule(value) for value in row] for row in raw.tolist()]
    mapped = class_numbers(raw, labels=THREE, class_map=class_map)
    foreign = foreign_values(raw, labels=THREE, class_map=class_map)
    if any(value is None for row in wanted for value in row):
        assert mapped is None
        unknown = [value for value in raw.ravel().tolist() if rule(value) is None]
        assert {item.value: item.pixels for item in foreign} == {value: unknown.count(value) for value in unknown}
        assert all(raw[item.first] == item.value for item in foreign)
    else:
        assert mapped is not None
        assert mapped.tolist() == wanted
        assert foreign == ()


def test_words():
    assert ranges([3, 0, 1, 2, 7, 9, 8]) == "0-3, 7-9"
    assert expected_values(THREE, {11: 255}) == "0-2, 11 or 255 (void)"
    assert expected_values(Labels(names=("a", "b")), {255: 1}) == "0-1 or 255"

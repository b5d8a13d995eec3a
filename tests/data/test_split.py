from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.data.samples import Sample
from atrous.data.split import natural_key, sequence_groups, split_by_group
from atrous.errors import ConfigError


def sample(name: str, group: str) -> Sample:
    return Sample(name=name, image=Path(name), mask=Path(name), group=group)


def samples_of(groups) -> list[Sample]:
    return [sample(f"{group}/{index}", str(group)) for index, group in enumerate(groups)]


GROUPS = st.lists(st.integers(0, 12), min_size=2, max_size=40)


@given(GROUPS, st.randoms(use_true_random=False), st.floats(0.01, 0.99))
def test_split_ignores_the_order_and_loses_nothing(groups, random, share):
    samples = samples_of(groups)
    shuffled = random.sample(samples, len(samples))
    train, val, note = split_by_group(samples, val_share=share)
    assert split_by_group(shuffled, val_share=share) == (train, val, note)
    assert sorted((*train, *val), key=lambda item: item.name) == sorted(samples, key=lambda item: item.name)


@given(GROUPS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_groups_are_not_parted_and_no_side_is_empty(groups, share, seed):
    train, val, _ = split_by_group(samples_of(groups), val_share=share, seed=seed)
    assert train
    assert val
    if len(set(groups)) > 1:
        assert not {item.group for item in train} & {item.group for item in val}


@pytest.mark.parametrize("count", [2, 5, 10, 100, 1001])
def test_share_is_met_when_groups_are_single_images(count):
    train, val, _ = split_by_group(samples_of(range(count)))
    assert len(train) + len(val) == count
    assert len(val) == max(1, round(0.2 * count))


def test_split_is_the_same_on_every_machine():
    _, val, _ = split_by_group(samples_of(range(10)))
    assert [item.group for item in val] == ["4", "7"]
    assert len({split_by_group(samples_of(range(10)), seed=seed)[1] for seed in range(5)}) > 1


def test_one_group_is_cut_in_natural_order_and_told():
    train, val, note = split_by_group([sample(f"f{index}", "g") for index in (10, 9, 1, 2, 3)])
    assert [item.name for item in train] == ["f1", "f2", "f3", "f9"]
    assert [item.name for item in val] == ["f10"]
    assert "optimistic" in note


def test_too_few_images():
    only = sample("a", "a")
    assert split_by_group([only])[:2] == ((only,), ())
    assert "there is 0" in split_by_group([])[2]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_outside_0_and_1_is_refused(share):
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        split_by_group(samples_of([1, 2]), val_share=share)


def test_note_says_what_was_done():
    note = split_by_group(samples_of([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]))[2]
    assert note == (
        "Split: train 8, val 2, because the data names no val split; by a stable hash of the 5 groups, which stay whole "
        "(asked for 20% val, got 20%)."
    )


def test_frames_of_sequences_are_found():
    names = ["cam1_0001", "cam1_0002", "cam2-0001", "cam2-0002", "seq/3", "seq/frame12", "0006R0_f01080", "0006R0_f0"]
    groups = sequence_groups(names)
    assert [groups[name] for name in names] == ["cam1", "cam1", "cam2", "cam2", "seq", "seq", "0006R0", "0006R0"]


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_0001", "IMG_0002", "IMG_0003"],  # one prefix says nothing
        ["a_1", "b_1", "c_1", "d_1"],  # one image per prefix
        ["cam1_1", "cam1_2", "cam2_1", "cam2_2", "sunset"],  # not all are frames
        ["1", "2", "3"],
        [],
    ],
)
def test_other_names_are_no_sequences(names):
    assert sequence_groups(names) == {}


def test_natural_order():
    names = ["f10", "f9", "F1", "f09", "f", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "F1", "f", "f09", "f9", "f10"]

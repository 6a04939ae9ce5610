"""Groups of layers that read the wrong images, from what the compiler wrote of the sample network in INT8 for four."""

from __future__ import annotations

import json

import pytest

from bmodel.compiler.layer_groups import find_misreads, mend_groups
from bmodel.errors import ToolError
from tests.helpers.paths import FIXTURES

FOLDER = FIXTURES / "layer_groups"
COMPILED = (FOLDER / "final.mlir").read_text()
GROUPS = (FOLDER / "groups.json").read_text()
MISREAD = "head_stride32_Transpose_f32_new_cast"


def test_a_slice_that_starts_within_a_word_is_found() -> None:
    # The same group reads an FP32 tensor in the same slices, which is right, and another reads 8 bits as a whole.
    assert find_misreads(COMPILED) == (MISREAD,)


@pytest.mark.parametrize(
    ("starts", "found"),
    [("0", 0), ("0, 4", 0), ("0, 4, 8, 12", 0), ("0, 1, 2, 3", 1), ("0, 3, 6", 1), ("0, 4, 6", 1)],
)
def test_slices_may_start_with_every_fourth_image(starts: str, found: int) -> None:
    assert len(find_misreads(COMPILED.replace("n_idx = [0, 2]", f"n_idx = [{starts}]"))) == found


@pytest.mark.parametrize(("kind", "found"), [("i8", 1), ("u8", 1), ("i16", 0)])
def test_only_eight_bits_are_stored_four_to_a_word(kind: str, found: int) -> None:
    assert len(find_misreads(COMPILED.replace("quant.uniform<i8", f"quant.uniform<{kind}"))) == found


def test_the_layer_leaves_its_group_and_runs_before_it() -> None:
    function = json.loads(mend_groups(GROUPS, [MISREAD]))["subfunc_0"]
    groups, singles = function["GroupLayer"], function["GlobalLayer"]
    assert [group["locs"] for group in groups] == [
        ["imagesmodel.0.conv_Conv_ui8_mul_scale", "imagesmodel.0.conv_Conv_ui8"],
        ["head_stride8_Transpose_f32", "head_stride32_Transpose_f32"],
        ["head_stride16_Transpose_f32_new_cast", "head_stride16_Transpose_f32"],
    ]
    assert [group["shape_secs"] for group in groups] == [[1, 1, 1, 25, 1], [2, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    order = {entry["index"]: entry.get("loc", entry.get("locs")) for entry in (*groups, *singles)}
    assert sorted(order) == list(range(7))
    assert order[3] == MISREAD
    assert order[4] == ["head_stride8_Transpose_f32", "head_stride32_Transpose_f32"]
    (alone,) = [single for single in singles if single["loc"] == MISREAD]
    assert alone["func_idx"] == 192


def test_what_is_left_of_a_pair_runs_alone_too() -> None:
    function = json.loads(mend_groups(GROUPS, ["head_stride16_Transpose_f32_new_cast"]))["subfunc_0"]
    assert len(function["GroupLayer"]) == 2
    by_index = {single["index"]: single["loc"] for single in function["GlobalLayer"]}
    assert by_index[4] == "head_stride16_Transpose_f32_new_cast"
    assert by_index[5] == "head_stride16_Transpose_f32"
    assert by_index[6] == "func.return"


def test_what_is_not_wrong_is_kept_as_it_is() -> None:
    assert json.loads(mend_groups(GROUPS, [])) == json.loads(GROUPS)


def test_an_unknown_file_of_groups_is_refused() -> None:
    with pytest.raises(ToolError, match="lacks the layer 'elsewhere'"):
        mend_groups(GROUPS, ["elsewhere"])
    with pytest.raises(ToolError, match="file of layer groups is unknown"):
        mend_groups(GROUPS.replace('"locs"', '"names"'), [MISREAD])
    with pytest.raises(ToolError, match="file of layer groups is unknown"):
        mend_groups(GROUPS[:200], [MISREAD])

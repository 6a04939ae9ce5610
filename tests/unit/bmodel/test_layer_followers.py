"""Layers that stay in FP32 with others, on graphs whose answer is plain."""

from __future__ import annotations

import pytest

from bmodel.compiler.layers import known_names, last_layers, with_followers
from bmodel.errors import ModelFileError
from bmodel.onnx_file import OnnxNode, read_nodes
from tests.helpers.paths import ROOT

MODELS = ROOT / "models"


def _node(kind: str, inputs: str, output: str) -> OnnxNode:
    return OnnxNode(kind=kind, inputs=tuple(inputs.split()), outputs=(output,))


NODES = (
    _node("Conv", "images w", "a"),
    _node("Relu", "a", "ra"),
    _node("Conv", "images w", "b"),
    _node("Sigmoid", "b", "gate"),
    _node("Mul", "b gate", "rb"),
    _node("Concat", "ra rb", "both"),
    _node("Conv", "both w", "c"),
    _node("Reshape", "c shape", "apart"),
)
KNOWN = ("a_Conv", "ra_Relu", "b_Conv", "rb_Mul", "both_Concat", "c_Conv", "apart_Reshape")


@pytest.mark.parametrize(
    ("layers", "added"),
    [
        (["a_Conv"], ["ra_Relu"]),
        # The compiler fuses the sigmoid into the product.
        (["b_Conv"], ["rb_Mul"]),
        # Both inputs are in FP32, whatever the order they were named in.
        (["b_Conv", "a_Conv"], ["ra_Relu", "rb_Mul", "both_Concat"]),
        # Weights of its own end the chain.
        (["c_Conv"], ["apart_Reshape"]),
        (["a_Conv", "ra_Relu"], []),
        (["both_Concat"], []),
        ([], []),
    ],
)
def test_what_has_no_weights_follows(layers: list[str], added: list[str]) -> None:
    assert with_followers(layers, NODES, KNOWN) == (*layers, *added)


def test_heads_are_followed_to_the_networks_outputs() -> None:
    nodes = read_nodes(MODELS / "sample_yolov7tiny_416.onnx")
    known = {f"{output}_{node.kind}" for node in nodes for output in node.outputs}
    head = "head_stride16.conv_Conv"
    followed = (head, "head_stride16.split_Reshape", "head_stride16_Transpose")
    assert with_followers([head], nodes, known) == followed
    # A shape that is computed from the head itself is no other input.
    tiny = with_followers(["head8_conv_Conv"], read_nodes(MODELS / "tiny.onnx"), {"head8_Transpose"})
    assert tiny == ("head8_conv_Conv", "head8_Transpose")


def test_the_heads_are_the_last_layers_with_weights() -> None:
    assert last_layers(NODES, {"apart"}) == ("c_Conv",)
    assert last_layers(NODES, {"both"}) == ("a_Conv", "b_Conv")
    nodes = read_nodes(MODELS / "sample_yolov7tiny_416.onnx")
    outputs = {f"head_stride{stride}" for stride in (8, 16, 32)}
    assert last_layers(nodes, outputs) == tuple(f"head_stride{stride}.conv_Conv" for stride in (8, 16, 32))


def test_reads_operations_in_order() -> None:
    nodes = read_nodes(MODELS / "tiny.onnx")
    assert nodes[0] == OnnxNode(
        kind="Conv", inputs=("images", "stem.weight", "stem.bias"), outputs=("stem_conv",)
    )
    made = {"images"}
    for node in nodes:
        computed = {name for name in node.inputs if any(name in other.outputs for other in nodes)}
        assert computed <= made
        made.update(node.outputs)
    with pytest.raises(ModelFileError, match="there is no ONNX file"):
        read_nodes(MODELS / "missing.onnx")


def test_names_everything_in_the_compilers_form() -> None:
    text = '%1 = "top.Conv"(%0) loc(#loc1)\n#loc1 = loc("a_Conv")\n#loc2 = loc("w")\n#loc3 = loc("a_Conv")\n#loc = loc(unknown)'
    assert known_names(text) == ("a_Conv", "w")

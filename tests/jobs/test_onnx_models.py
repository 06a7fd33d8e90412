"""ONNX files as black boxes: how they are asked, what they say, and which are refused."""

# ruff: noqa: E501, the words are those of the page of formats

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from app.contracts.access import Access, Held
from app.contracts.onnx import Layout, PixelRange
from app.errors import JobError
from app.store import catalogue
from app.store.tables import JobRow
from tests.jobs.measured import Measured
from tests.jobs.onnx_files import Linear, fitted, model_of
from tests.jobs.test_importing_model import bring, failure, log, result
from worker import onnx_network, registry
from worker.data.augment import to_float
from worker.endpoint import Reach
from worker.jobs import asking, file_kinds, reading_onnx
from worker.jobs.onnx_operators import Refused
from worker.models import BlackBox
from worker.onnx_network import OnnxNetwork

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def net(measured: Measured) -> Linear:
    return fitted(measured.dataset)


def take(measured: Measured, model: onnx.ModelProto | bytes, **params: Any) -> JobRow:
    """Run an import as a black box."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return bring(measured, data, **{"architecture": None, "black_box": True, **params})


def loaded(measured: Measured, job: JobRow) -> BlackBox:
    row = registry.model_row(measured.lab.database, result(measured, job).model)
    model = registry.load(measured.lab.files, row, Reach(measured.lab.settings, lambda: None))
    assert isinstance(model, BlackBox)
    return model


def images(measured: Measured, count: int = 7) -> torch.Tensor:
    return to_float(measured.dataset.split("test").to("cpu").images[:count])


def test_a_file_becomes_a_black_box_that_answers_as_it_does(
    measured: Measured, net: Linear
) -> None:
    model = model_of(net)
    job = take(measured, model, pixels="0-1")
    found = result(measured, job)
    card, asked = found.card, found.card.onnx
    assert asked is not None
    assert (card.architecture, card.access, card.origin) == ("ONNX", Access.BLACK_BOX, "imported")
    assert (asked.input, asked.output, asked.kind, asked.opset) == ("x", "logits", "float32", 17)
    assert (asked.layout, asked.pixels) == (Layout.CHANNELS_FIRST, PixelRange.UNIT)
    assert (asked.batch, asked.scores, asked.outputs) == (None, "logits", tuple(range(10)))
    assert card.parameters == 10 * 48 + 10 + 2
    assert card.test[0].accuracy.low > 0.1
    assert any("as they are" in warning for warning in card.warnings)
    row = catalogue.model(measured.lab.database, found.model)
    assert row is not None
    stored = measured.lab.files.weights(row.id, Held.ONNX)
    assert stored.read_bytes() == model.SerializeToString()
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == row.sha256
    x = images(measured)
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match="no gradients"):
        loaded(measured, job)(x.requires_grad_())


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "channels last": (
        {"shape": ("N", 32, 32, 3), "channels_last": True}, {"pixels": "0-1"},
    ),
    "grey levels": ({"white": 255.0}, {"pixels": "0-255"}),
    "grey levels by its metadata": (
        {"white": 255.0, "metadata": {"Image.NominalPixelRange": "NominalRange_0_255"}}, {},
    ),
    "bytes": ({"white": 255.0, "kind": TensorProto.UINT8}, {}),
    "half precision": ({"kind": TensorProto.FLOAT16}, {"pixels": "0-1"}),
    "a batch of one": ({"shape": (1, 3, 32, 32)}, {"pixels": "0-1"}),
    "a batch of three": ({"shape": (3, 3, 32, 32)}, {"pixels": "0-1"}),
    "a batch of one that says any": ({"for_one": True}, {"pixels": "0-1"}),
    "open sides": (
        {"shape": ("N", None, None, None)}, {"pixels": "0-1", "layout": "nchw"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_it_is_asked_as_it_wants_to_be(measured: Measured, net: Linear, way: str) -> None:
    written, told = WAYS[way]
    job = take(measured, model_of(net, **written), **told)
    x = images(measured)
    rounding = 0.05 if way == "half precision" else 1e-4
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=rounding)
    if way == "a batch of one that says any":
        assert "fails with several" in log(measured, job)


def test_normalisation_is_given_in_units_of_0_to_1(measured: Measured, net: Linear) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    job = take(measured, model_of(net), pixels="0-1", mean=mean, std=std)
    x = images(measured)
    shaped = [torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std)]
    expected = net.logits((x - shaped[0]) / shaped[1])
    torch.testing.assert_close(loaded(measured, job)(x), expected, rtol=0, atol=1e-4)
    symmetric = take(
        measured, model_of(net, metadata={"Image.NominalPixelRange": "Normalized_1_1"})
    )
    torch.testing.assert_close(
        loaded(measured, symmetric)(x), net.logits(2 * x - 1), rtol=0, atol=1e-4
    )


def test_probabilities_are_known_and_their_logarithms_taken(
    measured: Measured, net: Linear
) -> None:
    job = take(measured, model_of(net, softmax=True), pixels="0-1")
    found = result(measured, job).card
    assert found.onnx is not None
    assert found.onnx.scores == "probabilities"
    assert "Their logarithms are taken" in log(measured, job)
    x = images(measured)
    expected = net.logits(x).log_softmax(dim=1)
    torch.testing.assert_close(loaded(measured, job)(x), expected, rtol=0, atol=1e-4)


def test_outputs_are_mapped_as_those_of_weights_are(measured: Measured, net: Linear) -> None:
    names = measured.dataset.class_names
    turned = list(reversed(range(10)))
    file = model_of(net.only(turned))
    said = failure(measured, take(measured, file, pixels="0-1"))
    assert "not in the dataset's order of classes" in said
    job = take(measured, file, pixels="0-1", classes=[names[k] for k in turned])
    x = images(measured)
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=1e-4)
    more = model_of(net.only([0, *range(10)]))
    assert "has 11 outputs, the dataset 10" in failure(measured, take(measured, more, pixels="0-1"))
    job = take(measured, more, pixels="0-1", outputs=list(range(1, 11)))
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=1e-4)
    fewer = model_of(net.only([0, 1, 2]))
    assert "has 3 outputs" in failure(measured, take(measured, fewer, pixels="0-1"))


QUESTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str, tuple[str, ...]]] = {
    "the range of pixels": ({}, {}, "pixels", ("0-1", "0-255")),
    "the layout": (
        {"shape": ("N", None, None, None)}, {"pixels": "0-1"}, "layout", ("nchw", "nhwc"),
    ),
    "the output": ({"hidden": True}, {"pixels": "0-1"}, "network", ("logits", "flat")),
    "the architecture": ({}, {"architecture": "wrn-10-1"}, "architecture", ()),
    "the range, against the file": (
        {"metadata": {"Image.NominalPixelRange": "Normalized_0_1"}}, {"pixels": "0-255"},
        "pixels", (),
    ),
    "the layout, against the file": ({}, {"layout": "nhwc"}, "layout", ()),
    "an output that it has not": ({}, {"network": "nothing"}, "network", ("logits",)),
}  # fmt: skip


@pytest.mark.parametrize("what", QUESTIONS)
def test_what_nobody_said_is_asked(measured: Measured, net: Linear, what: str) -> None:
    written, told, field, choices = QUESTIONS[what]
    job = take(measured, model_of(net, **written), **told)
    failure(measured, job)
    assert job.failure is not None
    assert (job.failure["field"], tuple(job.failure["choices"])) == (field, choices)


def test_nothing_is_subtracted_from_bytes(measured: Measured, net: Linear) -> None:
    bytes_alone: dict[str, Any] = {"white": 255.0, "kind": TensorProto.UINT8}
    job = take(measured, model_of(net, **bytes_alone), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert "nothing can be subtracted" in failure(measured, job)
    assert job.failure is not None
    assert job.failure["field"] == "mean"
    said = {"Image.NominalPixelRange": "Normalized_1_1"}
    job = take(measured, model_of(net, **bytes_alone, metadata=said))
    assert "nothing can be subtracted" in failure(measured, job)


@pytest.mark.parametrize(("field", "value"), [("pixels", "0-255"), ("layout", "nhwc")])
def test_what_is_said_of_onnx_files_is_refused_for_weights(
    measured: Measured, field: str, value: str
) -> None:
    state = measured.model(measured.teacher).state_dict()
    job = bring(measured, {k: v.contiguous() for k, v in state.items()}, **{field: value})
    assert f"no {field} can be said" in failure(measured, job)
    assert job.failure is not None
    assert job.failure["field"] == field


def test_the_output_that_is_named_is_taken(measured: Measured, net: Linear) -> None:
    job = take(measured, model_of(net, hidden=True), pixels="0-1", network="logits")
    x = images(measured)
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=1e-4)


def external(model: onnx.ModelProto) -> None:
    (weight,) = [t for t in model.graph.initializer if t.name == "weight"]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def external_within(model: onnx.ModelProto) -> None:
    inner = numpy_helper.from_array(np.zeros(1, np.float32), "c")
    inner.ClearField("raw_data")
    inner.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Constant", [], ["unused"], value=inner)
    branch = helper.make_graph([node], "then", [], [])
    condition = helper.make_node("If", ["b"], ["z"], then_branch=branch, else_branch=branch)
    model.graph.node.append(condition)


def function_with(model: onnx.ModelProto, default: onnx.AttributeProto) -> None:
    """A function of the file's own, whose nodes need not say one of their attributes."""
    function = helper.make_function(
        "own", "F", [], ["o"], [], [helper.make_opsetid("", 17)], attribute_protos=[default]
    )
    model.functions.append(function)
    model.graph.node.append(helper.make_node("F", [], ["unused"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))


def external_by_default(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "c")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    function_with(model, helper.make_attribute("value", tensor))


def looping_by_default(model: onnx.ModelProto) -> None:
    loop = helper.make_node("Loop", ["", ""], ["l"], body=helper.make_graph([], "body", [], []))
    function_with(model, helper.make_attribute("part", helper.make_graph([loop], "part", [], [])))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Steal", ["x"], ["s"], domain="evil.ops"))
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))


def renaming(model: onnx.ModelProto) -> None:
    """A function under the name of an operator of onnxruntime's, which is what would run."""
    own = helper.make_node("Neg", ["a"], ["b"])
    versions = [helper.make_opsetid("", 17)]
    function = helper.make_function("com.microsoft", "Gelu", ["a"], ["b"], [own], versions)
    model.functions.append(function)
    model.graph.node.append(helper.make_node("Gelu", ["x"], ["s"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def doubling(model: onnx.ModelProto) -> None:
    """Functions that call each other twice: 30 of them make a thousand million nodes."""
    inner, domain = "Neg", ""
    for number in range(30):
        nodes = [
            helper.make_node(inner, [given], [made], domain=domain)
            for given, made in (("a", "t"), ("t", "b"))
        ]
        inner, domain = f"F{number}", "own"
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        function = helper.make_function("own", inner, ["a"], ["b"], nodes, versions)
        model.functions.append(function)
    model.graph.node.append(helper.make_node(inner, ["logits"], ["more"], domain=domain))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.output[0].name = "more"


def huge_weights(model: onnx.ModelProto) -> None:
    """A tensor of 4 TB by what it says of itself."""
    (weight,) = [t for t in model.graph.initializer if t.name == "weight"]
    weight.dims[:] = [10**6, 10**6]


def huge_sparse_weights(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "many"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "places"))
    sparse.dims.extend([10**6, 10**6])
    model.graph.node.append(helper.make_node("ReduceSum", ["many"], ["sum"]))
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))


def looping(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["l"], body=body))


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))


def grey_images(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def larger(model: onnx.ModelProto) -> None:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 64


def labels_alone(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, None))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NoSuchThing", ["x"], ["s"]))


def no_plain_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "x\n\u202e"


def blue_first(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {"Image.BitmapPixelFormat": "Bgr8"})


def huge(model: onnx.ModelProto) -> None:
    """A few bytes that ask for 400 GB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["more"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**11]), "size"))
    model.graph.output[0].name = "more"


def numbers_of_classes(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def rows_of_features(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[2:]


def failing(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Reshape", ["logits", "seven"], ["more"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([7]), "seven"))
    model.graph.output[0].name = "more"


def maps_alone(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["x"], ["map"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, None))


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "weights in another file": (external, "another file beside it"),
    "weights of a branch in another file": (external_within, "another file beside it"),
    "weights of a function in another file": (external_by_default, "another file beside it"),
    "operators of others": (custom, "operators that are not ONNX's: evil.ops.Steal"),
    "names of onnxruntime's operators": (
        renaming,
        "onnxruntime has of its own: com.microsoft.Gelu",
    ),
    "weights of 4 TB": (huge_weights, "onnxruntime cannot load the network"),
    "sparse weights of 4 TB": (huge_sparse_weights, "onnxruntime cannot load the network"),
    "loops": (looping, "holds loops (Loop)"),
    "loops of a function": (looping_by_default, "holds loops (Loop)"),
    "an input of whole numbers": (numbers_of_classes, "takes numbers of type int64"),
    "an input that is no batch of images": (rows_of_features, "any × 3, no batch of images"),
    "two inputs": (two_inputs, "has 2 inputs (x, age)"),
    "grey images": (grey_images, "no axis holds three channels"),
    "larger images": (larger, "images of 64 × 64 pixels, the dataset's have 32 × 32"),
    "labels alone": (labels_alone, "Labels alone are not enough"),
    "an operator that there is not": (unknown_operator, "onnxruntime cannot load the network"),
    "an input without a plain name": (no_plain_name, "no plain name"),
    "blue before green before red": (blue_first, "blue before green before red"),
    "a network that fails on an image": (failing, "fails on an image"),
    "a feature map alone": (maps_alone, "its outputs are map: 1 × 3 × 32 × 32"),
    "more memory than there is": (huge, "of memory"),
}
REFUSED_ELSEWHERE = {
    "a damaged file": "test_a_damaged_file_is_refused",
    "a file larger than 2 GB": "test_a_file_that_no_onnx_can_be_is_not_read",
    "more time than there is": "test_functions_that_double_each_other_end_the_reading_alone",
    "a network that fails or takes without end on other images": "test_a_batch_without_an_end_is_ended_and_so_is_its_process",
    "an open layout, range of pixels or output that nobody said, or said otherwise than the file": "test_what_nobody_said_is_asked",
    "a mean or a deviation given for bytes": "test_nothing_is_subtracted_from_bytes",
    "other outputs than the dataset has classes": "test_outputs_are_mapped_as_those_of_weights_are",
    "a model whose file was changed since": "test_a_file_that_was_changed_is_not_asked",
}  # fmt: skip
"""What is refused by tests of their own, by their names."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(measured: Measured, net: Linear, what: str) -> None:
    change, words = REFUSED[what]
    model = model_of(net)
    change(model)
    assert words in failure(measured, take(measured, model, pixels="0-1"))


@pytest.mark.slow
def test_functions_that_double_each_other_end_the_reading_alone(
    measured: Measured, net: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_SECONDS", 5)
    model = model_of(net)
    doubling(model)
    assert "took more than 5 s" in failure(measured, take(measured, model, pixels="0-1"))


def test_what_was_looked_at_as_onnx_is_run_as_onnx(measured: Measured, net: Linear) -> None:
    """onnxruntime has a format of its own, known by four letters, which a name may be made of."""
    data = model_of(net).SerializeToString()
    producer = b"\x12\x04ORTM"
    job = take(measured, data[:2] + producer + data[2:], pixels="0-1")
    x = images(measured)
    torch.testing.assert_close(loaded(measured, job)(x), net.logits(x), rtol=0, atol=1e-4)


# Networks that are harmless until they see an image


def gated(model: onnx.ModelProto, size: int) -> None:
    """Multiplies square matrices of `size` where an image is not grey."""
    nodes = [
        helper.make_node("ReduceMax", ["f"], ["highest"], keepdims=0),
        helper.make_node("Greater", ["highest", "grey"], ["open"]),
        helper.make_node("Cast", ["open"], ["gate"], to=TensorProto.INT64),
        helper.make_node("Mul", ["gate", "size"], ["sides"]),
        helper.make_node("ConstantOfShape", ["sides"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["once"]),
        helper.make_node("MatMul", ["once", "matrix"], ["twice"]),
        helper.make_node("ReduceSum", ["twice"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["more"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([size, size]), "size"),
            numpy_helper.from_array(np.float32(0.6), "grey"),
        ]
    )
    model.graph.output[0].name = "more"


def asked_of(model: onnx.ModelProto) -> OnnxNetwork:
    return OnnxNetwork(
        model.SerializeToString(), source="x", output="more", kind="float32", channels_last=False,
        white=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, batch=None, probabilities=False,
    )  # fmt: skip


GREY, WHITE = torch.full((2, 3, 32, 32), 0.5), torch.ones(2, 3, 32, 32)


def test_a_batch_without_an_end_is_ended_and_so_is_its_process(
    net: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(net)
    gated(model, 8000)
    network = asked_of(model)
    torch.testing.assert_close(network(GREY), net.logits(GREY), rtol=0, atol=1e-4)
    monkeypatch.setattr(onnx_network, "_SECONDS", 1)
    for said in ("took more than 1 s for 2 images", "ended"):  # the second finds nobody to ask
        with pytest.raises(JobError, match=said):
            network(WHITE)


def test_an_image_that_asks_for_all_memory_gets_an_error(net: Linear) -> None:
    model = model_of(net)
    gated(model, 10**6)
    network = asked_of(model)
    with pytest.raises(JobError, match="The network fails"):
        network(WHITE)
    torch.testing.assert_close(network(GREY), net.logits(GREY), rtol=0, atol=1e-4)


def test_such_a_network_fails_its_import_in_plain_words(measured: Measured, net: Linear) -> None:
    model = model_of(net)
    gated(model, 10**6)
    assert "The network fails" in failure(measured, take(measured, model, pixels="0-1"))


def test_its_process_ends_with_it(net: Linear) -> None:
    def children() -> set[str]:
        tasks = Path("/proc/self/task").iterdir()
        return {child for task in tasks for child in (task / "children").read_text().split()}

    before, model = children(), model_of(net)
    gated(model, 1)
    network = asked_of(model)
    (process,) = children() - before
    assert b"worker.onnx_answering" in Path("/proc", process, "cmdline").read_bytes()
    assert "Seccomp:\t2" in Path("/proc", process, "status").read_text()
    del network
    assert process not in children()


def test_onnxruntime_keeps_no_number_of_the_machine_and_tells_nobody(tmp_path: Path) -> None:
    """By default it does both, and begins with a file in the cache of the user."""
    code = "import worker, onnxruntime as ort; ort.InferenceSession"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_a_file_that_no_onnx_can_be_is_not_read(
    net: Linear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model_of(net).SerializeToString())
    monkeypatch.setattr(reading_onnx, "_MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(Refused, match="larger than 2 GB"):
        reading_onnx.found(path, 32, "", "")


def test_a_damaged_file_is_refused(measured: Measured, net: Linear) -> None:
    data = model_of(net).SerializeToString()
    assert "damaged" in failure(measured, take(measured, data[: len(data) // 2], pixels="0-1"))


@pytest.mark.parametrize("name", ["x", "logits", "AveragePool", "strides", "weight"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, net: Linear, name: str) -> None:
    """Of inputs, outputs, operators, attributes and weights: protobuf gives them as bytes."""
    data = model_of(net).SerializeToString()
    length = bytes([len(name)])
    assert length + name.encode() in data
    source = tmp_path / "net.onnx"
    source.write_bytes(data.replace(length + name.encode(), length + b"\xf8" * len(name)))
    with pytest.raises(Refused, match="names are no text"):
        reading_onnx.found(source, 32, "", "")


def test_it_is_told_by_its_content(net: Linear) -> None:
    assert file_kinds.is_onnx(model_of(net).SerializeToString())
    assert file_kinds.is_onnx(b"\x08\x07\x12\x07pytorch\x1a\x052.9.1:\x10")
    assert not file_kinds.is_onnx(b"\x08\x01\x12\x9a\x10\n\x05")  # TensorFlow's SavedModel
    assert not file_kinds.is_onnx(b"")


def test_weights_without_an_architecture_are_asked_for_it(measured: Measured) -> None:
    state = measured.model(measured.teacher).state_dict()
    job = bring(measured, {k: v.contiguous() for k, v in state.items()}, architecture=None)
    assert "Weights need the architecture" in failure(measured, job)


def test_a_file_that_was_changed_is_not_asked(measured: Measured, net: Linear) -> None:
    found = result(measured, take(measured, model_of(net), pixels="0-1"))
    row = registry.model_row(measured.lab.database, found.model)
    path = measured.lab.files.weights(row.id, Held.ONNX)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Exception, match="not those that were registered"):
        registry.load(measured.lab.files, row, Reach(measured.lab.settings, lambda: None))

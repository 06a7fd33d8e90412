"""ONNX files as white boxes: proven to be the same network, or black boxes that say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from app.contracts.access import Access, Held, Need
from app.contracts.attacks import Method
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ExplainParams, ReleaseParams
from app.contracts.results import ModelCard, OnnxInterface
from app.errors import InvalidInput, JobError
from app.services import checks
from app.store.tables import JobRow
from tests.jobs.evaluations import evaluate, small
from tests.jobs.measured import Measured
from tests.jobs.onnx_files import Linear, fitted, model_of
from tests.jobs.runs import run
from tests.jobs.test_importing_model import bring, failure, log, result
from worker import registry
from worker.data.augment import to_float
from worker.endpoint import Reach
from worker.jobs import onnx_file, onnx_proof
from worker.models import Classifier, build, converted
from worker.models.converted import Converted
from worker.models.operators import FUNCTIONS

pytest.importorskip("onnxscript")


@pytest.fixture(scope="session")
def net(measured: Measured) -> Linear:
    return fitted(measured.dataset)


@pytest.fixture(scope="module")
def exported(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The teacher, a residual network, as the lab itself writes ONNX."""
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    onnx_file.write(measured.model(measured.teacher), 32, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def brought(measured: Measured, exported: bytes) -> str:
    """The id of the teacher, exported and brought again."""
    return result(measured, take(measured, exported)).model


def take(measured: Measured, model: onnx.ModelProto | bytes, **params: Any) -> JobRow:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return bring(measured, data, **{"architecture": None, **params})


def card(measured: Measured, job: JobRow) -> tuple[ModelCard, OnnxInterface]:
    found = result(measured, job).card
    assert found.onnx is not None
    return found, found.onnx


def loaded(measured: Measured, model_id: str) -> Converted:
    row = registry.model_row(measured.lab.database, model_id)
    model = registry.load(measured.lab.files, row, Reach(measured.lab.settings, lambda: None))
    assert isinstance(model, Converted)
    return model


def images(measured: Measured, count: int = 7) -> torch.Tensor:
    return to_float(measured.dataset.split("test").to("cpu").images[:count])


def gradient(model: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).logsumexp(dim=1).sum(), x)[0]


def same(ours: Callable[..., Any], theirs: Callable[..., Any], x: torch.Tensor) -> None:
    """Logits, and gradients, of two functions; up to rounding in float32."""
    for found, expected in ((ours(x), theirs(x)), (gradient(ours, x), gradient(theirs, x))):
        scale = expected.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)


def test_a_network_that_was_exported_is_a_white_box_with_the_same_gradient(
    measured: Measured, exported: bytes
) -> None:
    job = take(measured, exported)
    found, asked = card(measured, job)
    assert (found.architecture, found.access, found.held) == (
        "ONNX", Access.WHITE_BOX, Held.WEIGHTS,
    )  # fmt: skip
    assert asked.proof is not None
    assert asked.why_asked == ""
    assert asked.proof.images == 600  # all 500 of the test part, and two batches of noise
    assert asked.proof.difference <= asked.proof.tolerance
    assert result(measured, job).parity >= asked.proof.difference
    assert "A white box: on 600 images" in log(measured, job)
    model, original = (
        loaded(measured, result(measured, job).model),
        measured.model(measured.teacher),
    )
    x = images(measured)
    same(model, original, x)
    seen, expected = model.outputs(x), original.outputs(x)
    torch.testing.assert_close(seen.features, expected.features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen.embedding, expected.embedding, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_its_attacks_break_the_images_that_those_of_the_original_break(
    measured: Measured, brought: str
) -> None:
    """AutoAttack and the curves, image by image."""
    params = small(
        measured, models=(measured.teacher, brought), further=(Method.AUTOATTACK,), images=24,
        attention=True,
    )  # fmt: skip
    original, again = evaluate(measured, params).models
    assert original.outcomes is not None
    assert again.outcomes is not None
    assert again.outcomes.clean_prediction == original.outcomes.clean_prediction
    assert again.outcomes.broken_by == original.outcomes.broken_by
    assert sum(k != 0 for k in again.outcomes.broken_by) > 0
    assert again.robust == original.robust
    assert again.against_epsilon == original.against_epsilon
    assert again.verdict is not None
    assert original.verdict is not None
    assert again.verdict.light == original.verdict.light
    lights = {check.id for check in again.verdict.checks}
    assert "gradients_followed" not in lights


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "channels last": (
        {"shape": ("N", 32, 32, 3), "channels_last": True}, {"pixels": "0-1"},
    ),
    "grey levels": ({"white": 255.0}, {"pixels": "0-255"}),
    "a batch of one": ({"shape": (1, 3, 32, 32)}, {"pixels": "0-1"}),
    "a batch of three": ({"shape": (3, 3, 32, 32)}, {"pixels": "0-1"}),
    "a batch of one that says any": ({"for_one": True}, {"pixels": "0-1"}),
    "a batch of one in its shapes": (
        {"for_one": True, "shape": (1, 3, 32, 32)}, {"pixels": "0-1"},
    ),
    "open sides": (
        {"shape": ("N", None, None, None)}, {"pixels": "0-1", "layout": "nchw"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_its_gradient_is_by_the_pixels_of_the_lab(
    measured: Measured, net: Linear, way: str
) -> None:
    written, told = WAYS[way]
    job = take(measured, model_of(net, **written), **told)
    found, _ = card(measured, job)
    assert found.access is Access.WHITE_BOX
    model = loaded(measured, result(measured, job).model)
    assert model.body.interpreter.graph.one_by_one is ("for_one" in written)  # type: ignore[union-attr]
    same(model, net.logits, images(measured))


def test_a_normalisation_outside_the_file_is_part_of_it(measured: Measured, net: Linear) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    job = take(measured, model_of(net), pixels="0-1", mean=mean, std=std)
    shaped = [torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std)]
    same(
        loaded(measured, result(measured, job).model),
        lambda x: net.logits((x - shaped[0]) / shaped[1]),
        images(measured),
    )


def test_of_probabilities_the_logits_before_them_are_taken(measured: Measured, net: Linear) -> None:
    """Which a saturated softmax would hide: its gradient is nothing in float32."""
    sharp = Linear(100 * net.weight, 100 * net.bias)
    job = take(measured, model_of(sharp, softmax=True), pixels="0-1")
    found, asked = card(measured, job)
    assert (found.access, asked.scores) == (Access.WHITE_BOX, "probabilities")
    same(loaded(measured, result(measured, job).model), sharp.logits, images(measured))


def test_outputs_are_mapped_as_those_of_weights_are(measured: Measured, net: Linear) -> None:
    names = measured.dataset.class_names
    turned = list(reversed(range(10)))
    more = model_of(net.only([0, *turned]))
    job = take(measured, more, pixels="0-1", outputs=list(reversed(range(1, 11))))
    same(loaded(measured, result(measured, job).model), net.logits, images(measured))
    same_count = model_of(net.only(turned))
    job = take(measured, same_count, pixels="0-1", classes=[names[k] for k in turned])
    same(loaded(measured, result(measured, job).model), net.logits, images(measured))


def with_end(model: onnx.ModelProto, nodes: list[onnx.NodeProto], **tensors: Any) -> None:
    """More after the logits, which gives the output `more`."""
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()
    )
    model.graph.output[0].name = "more"


def unknown_operator(model: onnx.ModelProto) -> None:
    with_end(
        model,
        [
            helper.make_node("Cos", ["logits"], ["c"]),
            helper.make_node("Add", ["c", "logits"], ["more"]),
        ],
    )


def mixing(model: onnx.ModelProto) -> None:
    """Every answer depends on the other images of the batch."""
    with_end(
        model,
        [
            helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["logits", "mean"], ["more"]),
        ],
    )


def own_probabilities(model: onnx.ModelProto) -> None:
    """A softmax that is written out."""
    with_end(
        model,
        [
            helper.make_node("Exp", ["logits"], ["e"]),
            helper.make_node("ReduceSum", ["e", "axis"], ["s"]),
            helper.make_node("Div", ["e", "s"], ["more"]),
        ],
        axis=np.array([1]),
    )


def rounding(model: onnx.ModelProto) -> None:
    """Images as whole numbers on their way, through which no gradient leads."""
    model.graph.node[0].attribute[0].i = TensorProto.INT64
    model.graph.node.insert(1, helper.make_node("Cast", ["f"], ["back"], to=TensorProto.FLOAT))
    model.graph.node[2].input[0] = "back"


def huge(model: onnx.ModelProto) -> None:
    """More than any network needs, in a value of which one number is used."""
    with_end(
        model,
        [
            helper.make_node("Expand", ["logits", "sizes"], ["many"]),
            helper.make_node("ReduceMax", ["many"], ["some"], axes=[0], keepdims=0),
            helper.make_node("Add", ["some", "zero"], ["more"]),
        ],
        sizes=np.array([70_000, 1, 10]),
        zero=np.float32(0),
    )


def three_in_its_shapes(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    (rows,) = [t for t in model.graph.initializer if t.name == "rows"]
    rows.CopyFrom(numpy_helper.from_array(np.array([3, 48]), "rows"))


LEFT: dict[str, tuple[Callable[[onnx.ModelProto], None], dict[str, Any], str]] = {
    "an operator that the lab does not compute": (unknown_operator, {}, "does not compute: Cos"),
    "answers that depend on the batch": (mixing, {}, "differ from those of onnxruntime"),
    "probabilities of no softmax at its end": (own_probabilities, {}, "softmax or a sigmoid"),
    "pixels that are rounded on their way": (rounding, {}, "depends on the image"),
    "a value larger than any network needs": (huge, {}, "numbers"),
    "a fixed number of images in its shapes": (three_in_its_shapes, {}, "Reshape is not computed"),
    "half precision": (lambda _: None, {"kind": TensorProto.FLOAT16}, "images of float16"),
    "bytes": (lambda _: None, {"kind": TensorProto.UINT8, "white": 255.0}, "images of uint8"),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT)
def test_what_is_not_shown_to_be_the_same_stays_a_black_box_and_says_why(
    measured: Measured, net: Linear, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "MOST", 2**20)  # what is larger, onnxruntime takes long for
    change, written, words = LEFT[what]
    model = model_of(net, **written)
    change(model)
    told = {} if what == "bytes" else {"pixels": "0-1"}
    job = take(measured, model, **told)
    found, asked = card(measured, job)
    assert (found.access, found.held, asked.proof) == (Access.BLACK_BOX, Held.ONNX, None)
    assert words in asked.why_asked
    assert f"A black box: {asked.why_asked}." in log(measured, job)


@pytest.mark.parametrize("wrong", ["slightly", "nowhere", "for one image"])
def test_an_operator_that_computes_otherwise_is_noticed(
    measured: Measured, net: Linear, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FUNCTIONS["AveragePool"]

    def pooled(*given: Any) -> torch.Tensor:
        found = right(*given)
        assert isinstance(found, torch.Tensor)
        if wrong == "slightly":
            return found * 1.001
        if wrong == "nowhere":
            return found * float("nan")
        return found if found.is_meta or len(found) != 1 else found * 1.01

    monkeypatch.setitem(FUNCTIONS, "AveragePool", pooled)
    found, asked = card(measured, take(measured, model_of(net), pixels="0-1"))
    assert found.access is Access.BLACK_BOX
    assert "differ from those of onnxruntime by up to" in asked.why_asked


def test_a_reader_that_breaks_down_or_has_no_end_leaves_a_black_box(
    measured: Measured, net: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, words in (("_SECONDS", 0, "more than 0 s"), ("_SPARE_MB", 0, "")):
        with monkeypatch.context() as patched:
            patched.setattr(onnx_proof, name, value)
            found, asked = card(measured, take(measured, model_of(net), pixels="0-1"))
        assert found.access is Access.BLACK_BOX
        assert asked.why_asked
        assert words in asked.why_asked


def test_whoever_wants_a_black_box_gets_one(measured: Measured, net: Linear) -> None:
    found, asked = card(measured, take(measured, model_of(net), pixels="0-1", black_box=True))
    assert (found.access, asked.why_asked) == (Access.BLACK_BOX, "it was imported as one")
    state = measured.model(measured.teacher).state_dict()
    job = bring(measured, {k: v.contiguous() for k, v in state.items()}, black_box=True)
    assert "no black box" in failure(measured, job)
    assert job.failure is not None
    assert job.failure["field"] == "black_box"


# Without a linear layer at its end


@pytest.fixture(scope="module")
def headless(measured: Measured) -> str:
    """The id of a network that ends in a convolution and an average."""
    net = fitted(measured.dataset)
    weight = torch.from_numpy(net.weight).view(10, 3, 4, 4)
    whole = (weight.repeat_interleave(8, 2).repeat_interleave(8, 3) / 64).numpy()
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(whole, "w"), numpy_helper.from_array(net.bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return result(measured, take(measured, model, pixels="0-1")).model


def test_without_a_linear_layer_it_gives_gradients_and_no_features(
    measured: Measured, headless: str
) -> None:
    row = registry.model_row(measured.lab.database, headless)
    assert (row.access, row.held) == (Access.NO_FEATURES, Held.WEIGHTS)
    assert row.access.record.gives == {Need.GRADIENTS, Need.SCORES, Need.LABELS}
    same(loaded(measured, headless), fitted(measured.dataset).logits, images(measured))
    with pytest.raises(JobError, match="white box without features: it gives no features"):
        registry.load_model(measured.lab.files, row)
    for kind, params in (
        (JobKind.EVALUATE, small(measured, models=(headless,), attention=True)),
        (JobKind.EVALUATE, small(measured, models=(headless,), further=(Method.ADAPTIVE,))),
        (JobKind.EXPLAIN, ExplainParams(upload="1" * 32, models=(headless,))),
    ):
        with pytest.raises(InvalidInput, match="it gives no features"):
            checks.check(measured.lab, kind, params)  # type: ignore[arg-type]


@pytest.mark.slow
def test_its_evaluation_follows_gradients(measured: Measured, headless: str) -> None:
    (found,) = evaluate(
        measured, small(measured, models=(headless,), images=20, minimal_epsilon=True)
    ).models
    assert found.verdict is not None
    assert "gradients_followed" not in {check.id for check in found.verdict.checks}
    assert found.robust is not None
    assert found.attention is None


# Networks of others


class Small(torch.nn.Module):
    """As people write them: shapes from `size`, a norm, dropout, several activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=2)
        self.group = torch.nn.GroupNorm(4, 16)
        self.third = torch.nn.Linear(16 * 4 * 4, 32)
        self.drop = torch.nn.Dropout(0.5)
        self.last = torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.elu(self.norm(self.first(x)))
        x = torch.nn.functional.max_pool2d(torch.nn.functional.silu(self.second(x)), 2)
        x = torch.nn.functional.avg_pool2d(self.group(x), 3, 2, 1)
        x = torch.nn.functional.hardswish(self.third(x.view(x.size(0), -1)))
        return self.last(self.drop(torch.nn.functional.gelu(x)))  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 1])
def test_a_network_that_torch_exports_is_the_same(
    measured: Measured, tmp_path: Path, batch: int | None
) -> None:
    torch.manual_seed(0)
    model, path = Small().eval(), tmp_path / "net.onnx"
    for norm in (model.norm,):
        assert norm.running_mean is not None
        norm.running_mean.normal_()
    sizes = None if batch else ({0: torch.export.Dim("N", min=1, max=2**20)},)
    example = torch.rand(batch or 4, 3, 32, 32)
    torch.onnx.export(
        model, (example,), path, dynamo=True, dynamic_shapes=sizes, external_data=False,
        verbose=False,
    )  # fmt: skip
    job = take(
        measured, path.read_bytes(), pixels="0-1", classes=list(measured.dataset.class_names)
    )
    found, asked = card(measured, job)
    assert asked.why_asked == ""
    assert found.access is Access.WHITE_BOX
    x = images(measured).contiguous()  # `view` asks for that
    same(loaded(measured, result(measured, job).model), model, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet-18", "timm:vit_tiny_patch16_224", "timm:convnext_atto", "timm:mobilenetv3_small_050"],
)
def test_larger_networks_are_the_same(measured: Measured, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    dataset, path = measured.dataset, tmp_path / "net.onnx"
    original: Classifier = build(
        name, num_classes=10, mean=dataset.mean, std=dataset.std, image_size=32
    ).eval()
    onnx_file.write(original, 32, path)
    job = take(measured, path.read_bytes(), classes=list(dataset.class_names))
    found, asked = card(measured, job)
    assert asked.why_asked == ""
    assert found.access is Access.WHITE_BOX
    same(loaded(measured, result(measured, job).model), original, images(measured, 3))


@pytest.mark.slow
def test_it_is_released_like_any_other(measured: Measured, brought: str) -> None:
    row = run(measured.lab, JobKind.RELEASE, ReleaseParams(model=brought))
    assert row.status == JobStatus.SUCCEEDED, row.failure

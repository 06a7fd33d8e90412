"""Files of weights as people have them, and what becomes of each: the rows of `docs/formats.md`.

Every file is made here. What counts is the accuracy that the imported model has: the teacher's own,
where the file was understood.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from app.contracts.jobs import JobStatus
from app.errors import JobError
from tests.jobs.measured import Measured
from tests.jobs.test_importing_model import accuracy, bring, failure, log, result, teacher
from worker.jobs.converting import Refused, convert
from worker.jobs.weights_file import opened

MB = 2**20
State = dict[str, Tensor]
NORMALISATION = ("mean", "std")


def bare(measured: Measured) -> State:
    """The teacher's weights by their published names, without a normalisation."""
    model, state = measured.model(measured.teacher), teacher(measured)
    return {theirs: state[ours] for ours, theirs in model.published_names().items()}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: value for name, value in state.items()}


def normalising(measured: Measured, mean: str, std: str, shape: tuple[int, ...]) -> State:
    own = teacher(measured)
    return {mean: own["mean"].view(shape), std: own["std"].view(shape)}


def saved(checkpoint: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def expected(measured: Measured) -> float:
    """What the teacher gets right; without its normalisation it is far from that."""
    return accuracy(measured, measured.teacher)


@pytest.mark.parametrize(
    ("mean", "std", "shape", "network"),
    [
        ("mu", "sigma", (3,), ""),
        ("mean", "std", (1, 3, 1, 1), ""),
        ("normalize.mean", "normalize.std", (3, 1, 1), "model."),
        ("0.mean", "0.std", (1, 3, 1, 1), "1."),
        ("module.0.mu", "module.0.sigma", (3, 1, 1), "module.1."),
        ("normalizer.new_mean", "normalizer.new_std", (3, 1, 1), "model."),
        ("norm.means", "norm.stds", (1, 3), "backbone.whatever."),
        ("model.pixel_mean", "model.pixel_std", (3, 1, 1), "model."),
    ],
)
def test_a_normalisation_inside_is_read_and_used(
    measured: Measured, expected: float, mean: str, std: str, shape: tuple[int, ...], network: str
) -> None:
    state = prefixed(network, bare(measured)) | normalising(measured, mean, std, shape)
    job = bring(measured, state)
    card = result(measured, job).card
    assert card.test[0].accuracy.value == pytest.approx(expected)
    assert card.warnings == ()
    assert f"Normalisation from the file ({mean})" in log(measured, job)


def test_a_normalisation_of_one_number_or_of_a_whole_image_is_one_of_channels(
    measured: Measured,
) -> None:
    state, three = bare(measured), teacher(measured)
    side = measured.dataset.image_size
    images = {n: three[n].view(1, 3, 1, 1).expand(1, 3, side, side) for n in NORMALISATION}
    found = result(measured, bring(measured, state | {n: v.clone() for n, v in images.items()}))
    stored = measured.model(found.model)
    torch.testing.assert_close((stored.mean, stored.std), (three["mean"], three["std"]))
    half = {"mean": torch.tensor(0.5), "std": torch.tensor([0.25])}
    stored = measured.model(result(measured, bring(measured, state | half)).model)
    assert (stored.mean.tolist(), stored.std.tolist()) == ([0.5] * 3, [0.25] * 3)


def test_a_normalisation_of_every_pixel_is_refused(measured: Measured) -> None:
    state = bare(measured) | {"mean": torch.rand(3, 32, 32), "std": torch.ones(3)}
    assert "another number at every pixel" in failure(measured, bring(measured, state))


def test_a_normalisation_of_grey_levels_is_refused_and_taken_when_given(
    measured: Measured, expected: float
) -> None:
    own = teacher(measured)
    levels = {f"data.{n}": 255 * own[n] for n in NORMALISATION}
    said = failure(measured, bring(measured, bare(measured) | levels))
    assert "not in units of [0, 1]" in said
    assert "give mean 0." in said
    given = {n: own[n].tolist() for n in NORMALISATION}
    found = result(measured, bring(measured, bare(measured) | levels, **given))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)


@pytest.mark.parametrize("as_lists", [True, False])
def test_a_normalisation_beside_the_weights_is_a_question(
    measured: Measured, expected: float, as_lists: bool
) -> None:
    own = teacher(measured)
    numbers = {n: own[n].tolist() if as_lists else own[n] for n in NORMALISATION}
    file = saved({"state_dict": bare(measured), "epoch": 9, **numbers})
    job = bring(measured, file)
    assert "Beside the weights the file has mean, std" in failure(measured, job)
    assert job.failure is not None
    assert job.failure["field"] == "mean"
    found = result(measured, bring(measured, file, **{n: own[n].tolist() for n in NORMALISATION}))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["config", "args", "default_cfg", "metadata", "many"])
def test_a_normalisation_noted_beside_the_weights_is_a_question(
    measured: Measured, expected: float, kind: str
) -> None:
    own = {n: teacher(measured)[n].tolist() for n in NORMALISATION}
    beside: dict[str, Any] = {
        "config": {"config": {"data": own}},
        "args": {"args": Namespace(lr=0.1, **own)},
        "default_cfg": {"default_cfg": {**own, "variance": 1}},
        "many": {f"a{n}": n for n in range(20)} | own,
    }.get(kind, {})
    if kind == "metadata":
        file = save(bare(measured), {"config": json.dumps({"data": own})})
    else:
        file = saved({"state_dict": bare(measured), **beside})
    job = bring(measured, file)
    said = failure(measured, job)
    assert "Beside the weights the file has " in said
    assert f"with the import: {own['mean'][0]:.4g}, " in said
    assert job.failure is not None
    assert job.failure["field"] == "mean"
    found = result(measured, bring(measured, file, **own))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)


def test_a_normalisation_noted_against_that_of_the_network_is_said(measured: Measured) -> None:
    own = {n: teacher(measured)[n].tolist() for n in NORMALISATION}
    other = {"mean": [0.5] * 3, "std": [0.5] * 3}
    file = saved({"state_dict": teacher(measured), "config": other})
    (doubt,) = result(measured, bring(measured, file)).card.warnings
    assert "Beside the weights config.mean, config.std says 0.5, 0.5, 0.5" in doubt
    levels = {n: [255 * v for v in values] for n, values in own.items()}
    file = saved({"state_dict": teacher(measured), "config": levels})
    assert result(measured, bring(measured, file)).card.warnings == ()


def test_blue_before_red_by_a_configuration_is_refused_or_said(measured: Measured) -> None:
    file = saved({"state_dict": teacher(measured), "config": {"channel_order": "BGR"}})
    said = failure(measured, bring(measured, file))
    assert "Images are blue, green, red, by config.channel_order" in said
    assert "weight.flip(1)" in said
    file = saved({"state_dict": teacher(measured), "meta": {"cfg": "dict(to_rgb=False)"}})
    (doubt,) = result(measured, bring(measured, file)).card.warnings
    assert "By meta.cfg beside the weights images were not turned" in doubt


def test_a_range_of_pixels_and_an_average_without_names_are_said(measured: Measured) -> None:
    beside = {"config": {"input_range": [0, 255]}, "ema": {"shadow_params": [torch.ones(2, 2)] * 9}}
    file = saved({"model": teacher(measured), **beside})
    levels, average = result(measured, bring(measured, file)).card.warnings
    assert "By config.input_range beside the weights pixels end above 1" in levels
    assert "ema.shadow_params holds weights without names, perhaps an average" in average


@pytest.mark.parametrize(
    ("mean", "var"),
    [("mean", "var"), ("pixel_mean", "pixel_var"), ("0.mean", "0.variance")],
)
def test_a_variance_is_read_as_one_and_said(
    measured: Measured, expected: float, mean: str, var: str
) -> None:
    own = teacher(measured)
    state = prefixed("1." if mean.startswith("0") else "", bare(measured))
    numbers = {mean: own["mean"], var: own["std"] ** 2}
    job = bring(measured, state | numbers)
    assert result(measured, job).card.test[0].accuracy.value == pytest.approx(expected)
    assert f"Normalisation from the file ({mean}, with the square root of {var})" in log(
        measured, job
    )
    both = numbers | {var.replace("variance", "std").replace("var", "std"): own["std"]}
    result(measured, bring(measured, state | both))
    wrong = both | {var: own["std"].clone()}
    assert "two normalisations" in failure(measured, bring(measured, state | wrong))
    alone = {var: own["std"]}
    assert "half a normalisation" in failure(measured, bring(measured, state | alone))


def test_a_normalisation_that_is_added_is_a_question(measured: Measured, expected: float) -> None:
    own = teacher(measured)
    job = bring(measured, own | {"mean": -own["mean"]})
    assert "has a mean below 0" in failure(measured, job)
    given = {n: own[n].tolist() for n in NORMALISATION}
    found = result(measured, bring(measured, own | {"mean": -own["mean"]}, **given))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)


@pytest.mark.parametrize("name", ["classes", "class_to_idx", "idx_to_class", "id2label"])
def test_classes_beside_the_weights_are_said(measured: Measured, name: str) -> None:
    names = list(measured.dataset.class_names)
    within = saved({"model": teacher(measured), "config": {name: names}})
    (doubt,) = result(measured, bring(measured, within)).card.warnings
    assert f"the file has config.{name}, which is not read" in doubt
    file = saved({"model": teacher(measured), name: dict(enumerate(names))})
    (doubt,) = result(measured, bring(measured, file)).card.warnings
    assert f"the file has {name}, which is not read" in doubt
    assert result(measured, bring(measured, file, classes=names)).card.warnings == ()


def test_the_normalisation_of_another_network_is_a_question(
    measured: Measured, expected: float
) -> None:
    own = teacher(measured)
    student = {f"student.{name}": value for name, value in bare(measured).items()}
    before = {f"student.data.{n}": own[n] for n in NORMALISATION}
    other = {f"ema.data.{n}": torch.full((3,), 0.5) for n in NORMALISATION}
    said = failure(measured, bring(measured, student | other))
    assert "ema.data.mean, is in another part of the file than the network" in said
    assert "which is at “student”" in said
    found = result(measured, bring(measured, student | before | other))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)
    given = {n: own[n].tolist() for n in NORMALISATION}
    found = result(measured, bring(measured, student | other, **given))
    assert found.card.test[0].accuracy.value == pytest.approx(expected)


def test_two_normalisations_that_differ_are_a_question(measured: Measured) -> None:
    own = teacher(measured)
    other = {"inner.mean": torch.full((3,), 0.5), "inner.std": torch.full((3,), 0.5)}
    state = bare(measured) | {n: own[n] for n in NORMALISATION} | other
    assert "two normalisations" in failure(measured, bring(measured, state))
    same = {f"inner.{n}": own[n].clone() for n in NORMALISATION}
    result(measured, bring(measured, bare(measured) | {n: own[n] for n in NORMALISATION} | same))


def test_copies_for_the_attack_are_the_same_network(measured: Measured, expected: float) -> None:
    """As the robustness library of Madry's group saves them."""
    inner = prefixed("model.", bare(measured))
    norm = normalising(measured, "normalizer.new_mean", "normalizer.new_std", (3, 1, 1))
    theirs = normalising(measured, "normalize.new_mean", "normalize.new_std", (3, 1, 1))
    attacker = prefixed("attacker.", prefixed("model.", bare(measured)) | theirs)
    state = prefixed("module.", inner | norm | {n: v.clone() for n, v in attacker.items()})
    job = bring(measured, state)
    assert result(measured, job).card.test[0].accuracy.value == pytest.approx(expected)
    assert "The same weights lie under module.attacker.model. again" in log(measured, job)


def test_counters_and_states_of_optimisers_are_left_out_and_said(measured: Measured) -> None:
    extra = {
        "n_averaged": torch.tensor(7),
        "ema_decay.num_updates": torch.tensor(3),
        "optimizer.conv1.weight": torch.zeros(2, 2),
    }
    job = bring(measured, prefixed("module.", teacher(measured)) | extra)
    result(measured, job)
    said = log(measured, job)
    assert "3 other tensors are left out" in said
    assert all(name in said for name in extra)


def changed(state: Mapping[str, Tensor]) -> State:
    return {n: v + 0.5 if v.is_floating_point() else v.clone() for n, v in state.items()}


@pytest.mark.parametrize("wanted", ["ema_model", "model"])
def test_of_two_networks_under_names_none_is_taken_silently(
    measured: Measured, expected: float, wanted: str
) -> None:
    right = prefixed("ema_model.", bare(measured))
    state = right | prefixed("model.", changed(bare(measured)))
    given = {n: teacher(measured)[n].tolist() for n in NORMALISATION}
    job = bring(measured, state, **given)
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert (job.failure["field"], job.failure["choices"]) == ("network", ["model", "ema_model"])
    assert "model, ema_model" in job.failure["detail"]
    chosen = result(measured, bring(measured, state, network=wanted, **given)).card.test[0]
    assert (chosen.accuracy.value == pytest.approx(expected)) == (wanted == "ema_model")


def test_a_network_beside_another_one_is_named(measured: Measured) -> None:
    state = teacher(measured) | {"teacher.conv.weight": torch.zeros(4, 3, 3, 3)}
    assert "network in the file" in failure(measured, bring(measured, state))
    job = bring(measured, prefixed("student.", state), network="student")
    assert job.status == JobStatus.FAILED
    said = failure(measured, bring(measured, state, network="nobody"))
    assert "begins with “nobody.”" in said
    assert "body, head, teacher" in said
    found = prefixed("student.", teacher(measured)) | {"teacher.w": torch.zeros(4, 3)}
    result(measured, bring(measured, found, network="student"))


STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2)}
OTHER = {name: value + 1 for name, value in STATE.items()}


def converted(saved: object, tmp_path: Path, network: str = "") -> tuple[State, dict[str, Any]]:
    torch.save(saved, tmp_path / "net.pt")
    said = convert(tmp_path / "net.pt", tmp_path / "out", 100 * MB, network)
    return load_file(tmp_path / "out"), said


@pytest.mark.parametrize(
    ("saved", "names"),
    [
        ({"state_dict": STATE, "state_dict_ema": OTHER}, ["state_dict", "state_dict_ema"]),
        ({"model": STATE, "ema": OTHER}, ["model", "ema"]),
        ({"model": STATE, "ema": {"shadow": OTHER}}, ["model", "ema.shadow"]),
        ({"net": {"model": STATE}, "best": {"model": OTHER}}, ["net.model", "best.model"]),
        (STATE | {"average": OTHER}, [".", "average"]),
        ({"gan": {"g": STATE, "d": {"w": torch.ones(3, 3)}}}, ["gan.g", "gan.d"]),
    ],
)  # fmt: skip
def test_of_two_networks_in_a_checkpoint_the_file_asks_which(
    saved: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="several networks") as raised:
        converted(saved, tmp_path)
    assert raised.value.choices == tuple(names)
    assert all(name in raised.value.detail for name in names)
    for name in names:
        assert converted(saved, tmp_path, name)[1]["network"] == name
    with pytest.raises(Refused, match="no network “nobody”") as raised:
        converted(saved, tmp_path, "nobody")
    assert raised.value.choices == tuple(names)


def test_the_network_that_is_named_is_taken(tmp_path: Path) -> None:
    saved = {"state_dict": STATE, "state_dict_ema": OTHER}
    found, said = converted(saved, tmp_path, "state_dict_ema")
    torch.testing.assert_close(found, OTHER)
    assert said["beside"] == ["state_dict"]
    deep = {"a": {"b": prefixed("ema_model.", OTHER) | prefixed("model.", STATE)}, "c": STATE}
    found, said = converted(deep, tmp_path, "a.b.ema_model")
    assert (said["network"], said["within"], len(found)) == ("a.b", "ema_model", 4)


def test_an_optimiser_beside_the_weights_is_said(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    saved = {
        "net": model.state_dict(), "optimizer": optimiser.state_dict(), "acc": torch.tensor(0.9),
        "lr_scheduler": {"w": torch.ones(2, 2)}, "copy": model.state_dict(),
    }  # fmt: skip
    found, said = converted(saved, tmp_path)
    assert (sorted(found), said["network"]) == (["bias", "weight"], "net")
    assert (said["beside"], said["copies"]) == (["acc", "lr_scheduler", "optimizer"], ["copy"])


def test_arguments_and_numbers_of_numpy_beside_the_weights_are_left_out(tmp_path: Path) -> None:
    noted = {
        "args": Namespace(lr=0.1, arch="resnet18"), "best_acc": np.float64(93.2),
        "epoch": np.int64(7), "done": np.bool_(True),
    }  # fmt: skip
    found, said = converted({"state_dict": STATE, **noted}, tmp_path)
    torch.testing.assert_close(found, STATE)
    assert said["beside"] == sorted(noted)


def test_a_bit_that_tipped_over_is_damage_and_a_file_without_checksums_is_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.pt"
    torch.save(STATE, path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<2f", 1.0, 2.0)) + 3] ^= 0x10
    path.write_bytes(data)
    assert len(torch.load(path, weights_only=True)) == 2, "torch sees nothing"
    with pytest.raises(Refused, match="damaged") as raised:
        convert(path, tmp_path / "out", 100 * MB)
    assert "SHA-256" in raised.value.hint
    torch.serialization.set_crc32_options(False)
    try:
        torch.testing.assert_close(converted(STATE, tmp_path)[0], STATE)
    finally:
        torch.serialization.set_crc32_options(True)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Net(), torch.ones(1, 3)), buffer)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Net(), (torch.ones(1, 3),)), buffer)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value.numpy() for name, value in STATE.items()})
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in names:
            target.writestr(name, b"{}")
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "named", "way_out"),
    [
        (torchscript, "a TorchScript program", "torch.jit.load"),
        (exported, "a program of torch.export", "torch.export.load"),
        (npz, "a NumPy archive (.npz)", "torch.from_numpy"),
        (lambda: zipped("config.json", "model.weights.h5"), "a Keras model", "OIHW"),
        (lambda: zipped("m/saved_model.pb", "m/variables/x"), "a TensorFlow model", "PyTorch"),
        (lambda: zipped("weights/net.pt", "readme.txt"), "a zip archive", "Unpack"),
    ],
)  # fmt: skip
def test_what_a_zip_is_instead_of_weights_is_named(
    make: Callable[[], bytes], named: str, way_out: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(make())
    with pytest.raises(Refused) as raised:
        convert(path, tmp_path / "out", 100 * MB)
    assert raised.value.detail == f"The file is {named}." or named in raised.value.detail
    assert way_out in raised.value.hint


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
        (b"\x08\x01\x12\xfd\x0f\n\x10\n\x03Add" + bytes(40), "a TensorFlow model"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), "a TensorFlow Lite model"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "a NumPy array"),
        (b"GGUF\x03\x00", "a GGUF file"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "compressed with gzip"),
        (b"\xfd7zXZ\x00" + bytes(40), "compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "a 7-Zip archive"),
        (b"Rar!\x1a\x07" + bytes(40), "a RAR archive"),
        (b"net.pt".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a tar archive"),
        (b'{"weight_map": {"a": "model-00001.safetensors"}}', "a JSON file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (save(STATE)[:-4], "no valid safetensors file"),
        (save(STATE)[:40], "ends early"),
    ],
)
def test_what_another_file_is_instead_of_weights_is_named(
    data: bytes, named: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(data)
    with (
        pytest.raises(JobError) as raised,
        opened(path, network="", scratch=tmp_path / "scratch", check=lambda: None),
    ):
        pass
    assert named in raised.value.detail
    assert raised.value.hint


# What the head's outputs stand for.


def with_head(state: State, weight: Tensor, bias: Tensor) -> State:
    return state | {"head.weight": weight, "head.bias": bias}


def wider(measured: Measured, places: list[int], outputs: int) -> State:
    """The teacher with more outputs, those of its classes at `places`; the others always win."""
    own = teacher(measured)
    weight, bias = torch.zeros(outputs, 64), torch.full((outputs,), 100.0)
    weight[places], bias[places] = own["head.weight"], own["head.bias"]
    return with_head(own, weight, bias)


def test_more_outputs_than_classes_need_a_mapping(measured: Measured, expected: float) -> None:
    classes, places = measured.dataset.class_names, [3, 0, 7, 11, 2, 5, 9, 8, 1, 6]
    state = wider(measured, places, 12)
    said = failure(measured, bring(measured, state))
    assert "12 outputs" in said
    assert "10 classes" in said
    job = bring(measured, state, outputs=places)
    assert result(measured, job).card.test[0].accuracy.value == pytest.approx(expected)
    assert "the other 2 are left out, so the model decides among these alone" in log(measured, job)
    names = [f"other {i}" for i in range(12)]
    for place, name in zip(places, classes, strict=True):
        names[place] = name.upper()
    found = result(measured, bring(measured, state, classes=names))
    assert found.card.classes == classes
    assert found.card.test[0].accuracy.value == pytest.approx(expected)
    assert "no output 12" in failure(measured, bring(measured, state, outputs=[*places[:-1], 12]))
    assert "11 classes are named" in failure(
        measured, bring(measured, state, classes=[*classes, "x"])
    )


def test_a_head_for_imagenet_is_mapped_by_the_names_of_the_classes() -> None:
    from worker.jobs.outputs import _of_imagenet

    assert _of_imagenet(("n01440764", "n03888257", "n02102040")) == (0, 701, 217)
    assert _of_imagenet(("tench", "parachute", "English springer")) == (0, 701, 217)
    assert _of_imagenet(("tench", "no such thing")) is None


def test_an_order_that_nobody_gave_is_found_by_measuring(
    measured: Measured, expected: float
) -> None:
    own, classes = teacher(measured), measured.dataset.class_names
    order = sorted(range(len(classes)), key=lambda k: classes[k][::-1])
    shuffled = with_head(own, own["head.weight"][order], own["head.bias"][order])
    job = bring(measured, shuffled)
    said = failure(measured, job)
    assert "not in the dataset's order of classes" in said
    assert job.failure is not None
    assert sorted(job.failure["choices"]) == sorted(classes)
    found = result(measured, bring(measured, shuffled, classes=job.failure["choices"]))
    assert found.card.test[0].accuracy.value >= expected


def test_an_accuracy_of_chance_is_a_warning_on_the_card(measured: Measured) -> None:
    own = teacher(measured)
    state = with_head(own, torch.zeros_like(own["head.weight"]), own["head.bias"])
    (warning,) = result(measured, bring(measured, state)).card.warnings
    assert "no better than guessing" in warning
    no_normalisation = {n: v for n, v in own.items() if n not in NORMALISATION}
    assert any(
        "as they are" in w
        for w in result(measured, bring(measured, no_normalisation)).card.warnings
    )


def test_what_hints_at_a_normalisation_is_said(measured: Measured) -> None:
    state = prefixed("1.", bare(measured))
    (doubt, *_) = result(measured, bring(measured, state)).card.warnings
    assert "another module stands before the network" in doubt
    import timm

    net = timm.create_model("test_resnet", num_classes=10).state_dict()
    (doubt, *_) = result(
        measured, bring(measured, net, architecture="timm:test_resnet")
    ).card.warnings
    assert "expect mean 0.5, 0.5, 0.5, deviation 0.5, 0.5, 0.5" in doubt


# What does not fit.


@pytest.mark.parametrize(
    ("architecture", "fits"),
    [("wrn-16-1", "wrn-10-1"), ("wrn-10-2", "wrn-10-1"), ("resnet-18", "wrn-10-1"),
     ("timm:resnet18", "wrn-10-1")],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.encoder."])
def test_a_mismatch_names_the_architecture_that_fits(
    measured: Measured, architecture: str, fits: str, prefix: str
) -> None:
    said = failure(
        measured, bring(measured, prefixed(prefix, bare(measured)), architecture=architecture)
    )
    assert f"do not fit {architecture}" in said
    assert f"are those of {fits}: choose that architecture" in said


def test_a_position_embedding_of_another_image_size_names_the_size(measured: Measured) -> None:
    import timm

    state = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=12).state_dict()
    job = bring(measured, state, architecture="timm:vit_tiny_patch16_224.augreg_in21k")
    said = failure(measured, job)
    assert "pos_embed is 1 × 197 × 192, not 1 × 5 × 192" in said
    assert "trained on images of 224 pixels" in said


@pytest.mark.parametrize("part", ["weight_orig", "weight_g", "parametrizations.weight.original0"])
def test_weights_in_parts_are_named_as_such(measured: Measured, part: str) -> None:
    state = bare(measured)
    state[f"fc.{part}"] = state.pop("fc.weight")
    said = failure(measured, bring(measured, state))
    assert "kept in parts" in said
    assert "missing: fc.weight" in said


@pytest.mark.parametrize(
    "word",
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"],
)
def test_wrappers_within_names_are_left_out_of_them(
    measured: Measured, expected: float, word: str
) -> None:
    """Also before all names, and together with another beginning."""
    own = teacher(measured)
    inside = {name.replace("body.", f"body.{word}."): value for name, value in own.items()}
    job = bring(measured, prefixed(f"module.{word}.", inside))
    assert f"Names have {word} in them" in log(measured, job)
    assert accuracy(measured, result(measured, job).model) == expected


def test_two_networks_of_one_name_but_for_a_wrapper_stay_apart(measured: Measured) -> None:
    own = teacher(measured)
    other = {name: value * 1.5 for name, value in own.items()}
    job = bring(measured, own | prefixed("_orig_mod.", other))
    assert "several times" in failure(measured, job)


@pytest.mark.parametrize(
    ("more", "way_out"),
    [
        ({"base_model.model.body.0.lora_A.weight": torch.zeros(4, 3)}, "merge_and_unload"),
        ({"head.SCB": torch.ones(10)}, "save the network in float32"),
        ({"vit.embeddings.cls_token": torch.zeros(1, 1, 8)}, "Hugging Face's transformers"),
    ],
)
def test_weights_that_are_told_by_their_names_say_so(
    measured: Measured, more: State, way_out: str
) -> None:
    assert way_out in failure(measured, bring(measured, teacher(measured) | more))


def test_a_pickle_of_arrays_has_a_way_out(measured: Measured) -> None:
    arrays = {name: value.numpy() for name, value in teacher(measured).items()}
    said = failure(measured, bring(measured, pickle.dumps(arrays)))
    assert "a pickle that `torch.save` did not write" in said
    assert "torch.from_numpy" in said

"""What a training leaves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from app.contracts.access import Access, Held, Need
from app.contracts.attacks import Goal, Method, Norm
from app.contracts.endpoint import Sends
from app.contracts.onnx import Layout, PixelRange
from app.contracts.params import Precision, Recipe, TrainParams
from app.contracts.results.base import Accuracy, Environment, Lineage, Result

_LONGEST_FIRST = sorted(Method, key=lambda method: len(method.record.title), reverse=True)
"""By their titles: `CW-L2-100` is no CW."""


class TestAccuracy(Result):
    """An accuracy on test images, with what it was measured on."""

    measure: str
    """`clean`, or the attack: `PGD-20`, `AutoAttack`."""
    method: Method | None = None
    """The attack; None where there was none."""
    accuracy: Accuracy
    dataset: Lineage
    expected: float | None = None
    """What whoever brought the model said it would be; a share."""

    @model_validator(mode="before")
    @classmethod
    def _method_of_older_cards(cls, value: Any) -> Any:
        """Cards that were written before there was a field for it name it in `measure` alone."""
        if not isinstance(value, dict) or "method" in value:
            return value
        measure = str(value.get("measure"))
        named = (m for m in _LONGEST_FIRST if f"{measure}-".startswith(f"{m.record.title}-"))
        return {**value, "method": next(named, None)}


def _as_far_as_read(value: Any, read: ValidatorFunctionWrapHandler) -> TrainParams | None:
    try:
        params: TrainParams | None = read(value)
    except ValidationError:
        return None
    return params


class OnnxProof(Result):
    """That a network computes in the lab what onnxruntime makes of its file."""

    images: int
    """On which the two were compared."""
    difference: float
    """The largest one between logits; of a file of probabilities, between their logarithms."""
    tolerance: float
    """What would have been rounding."""


class OnnxInterface(Result):
    """How the network in an ONNX file is asked, and what is made of its answers."""

    input: str
    output: str
    """Their names in the file."""
    kind: str
    """Of the input's numbers, as NumPy calls it: `float32`."""
    layout: Layout
    pixels: PixelRange
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """In units of [0, 1]; 0 and 1 where images are given as they are."""
    batch: int | None
    """How many images it takes at once; None: any number."""
    scores: Literal["logits", "probabilities"]
    """What it answers with. Of probabilities the logarithm is taken."""
    outputs: tuple[int, ...]
    """The number of the output that stands for each class; of a single output, 1 is its own and 0
    what is opposite to it."""
    opset: int
    """The version of ONNX's operators."""
    proof: OnnxProof | None = None
    """Of a white box, which was converted; None of a black box, whose file is asked."""
    why_asked: str = ""
    """Why a file is a black box, in words that end a sentence; empty where an earlier version
    imported it."""


class EndpointInterface(Result):
    """How a model behind an HTTP address is asked, and what is made of its answers."""

    address: str
    sends: Sends
    layout: Layout
    pixels: PixelRange
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """In units of [0, 1], as layout and pixels of numbers; PNG has none of them."""
    answers: Literal["logits", "probabilities", "labels"]
    width: int
    """Numbers that it gives an image; of labels, how many there are."""
    names: tuple[str, ...] = ()
    """What labels are called, where they come by name; empty: by number."""
    outputs: tuple[int, ...]
    """As `OnnxInterface.outputs`."""
    at_once: int
    """Images of one request, at most."""
    per_second: float | None
    """Images that it is shown a second, at most; None: as fast as it answers."""
    budget: int
    """Images that one job may ask about."""
    patience_s: float
    """How long an answer may take."""
    known: tuple[tuple[float, ...], ...] = ()
    """What it answered to the lab's own images, by which another model is noticed that answers
    there; empty where it answers otherwise each time."""


class ModelCard(Result):
    """Everything needed to judge a model, and to train it again."""

    name: str
    architecture: str
    """Of a network from an ONNX file `ONNX`, behind an address `HTTP`."""
    parameters: int | None
    """None behind an address, where nobody can count them."""
    access: Access = Access.WHITE_BOX
    onnx: OnnxInterface | None = None
    """None but for a network from an ONNX file."""
    endpoint: EndpointInterface | None = None
    """None but for a model behind an address."""
    classes: tuple[str, ...]
    image_size: int
    dataset: Lineage
    teacher: Lineage | None
    params: Annotated[TrainParams | None, WrapValidator(_as_far_as_read)]
    """How the lab trained it; None for imported weights, and where an earlier version trained it
    with parameters that are not read any more."""
    origin: Literal["trained", "imported", "shipped"] = "trained"
    kept: Literal["best", "last"] = "best"
    """`best`: the epoch with the highest accuracy on held-out images; `last`: the last epoch."""
    selection: str
    """The same in words, or where imported weights come from."""
    epoch: int
    """The kept epoch, from 1; 0 for imported weights."""
    validation_clean: Accuracy | None
    validation_robust: Accuracy | None
    """Under PGD-10 at the training budget; None for a clean or an imported model."""
    warnings: tuple[str, ...] = ()
    """Why a training that ran through is no success; in words."""
    test: tuple[TestAccuracy, ...] = ()
    """Accuracies on test images that are known without an evaluation in this lab."""
    precision: Precision = Precision.FLOAT32
    """What the steps were computed in; never `auto`."""
    environment: Environment

    def gives(self, *needs: Need) -> bool:
        """Whether whoever has the model can have all of these of it."""
        return self.access.record.gives.issuperset(needs)

    @property
    def held(self) -> Held:
        """What the lab has of it."""
        if self.endpoint is not None:
            return Held.ADDRESS
        asked = self.onnx is not None and not self.gives(Need.GRADIENTS)
        return Held.ONNX if asked else Held.WEIGHTS

    @property
    def recipe(self) -> Recipe | None:
        """How it was trained; None where that is not known."""
        return None if self.params is None else self.params.recipe

    @property
    def trained_for(self) -> tuple[Norm, float, Goal] | None:
        """Norm, budget and goal of the attacks that it learned to withstand; None for a clean
        model, and where that is not known.
        """
        if self.params is None or not self.params.recipe.is_robust:
            return None
        return Norm.LINF, self.params.epsilon, Goal.UNTARGETED


class TrainResult(Result):
    kind: Literal["train"] = "train"
    model: str
    """The best epoch's model."""
    last: str
    """The last epoch's model; the same as `model` where that epoch was the best."""
    card: ModelCard
    """Of `model`."""


class ImportModelResult(Result):
    kind: Literal["import_model"] = "import_model"
    model: str
    card: ModelCard
    parity: float
    """The largest difference between logits of the file's own network and of the registered model,
    on the same images."""

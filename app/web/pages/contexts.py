"""What each template is given: one frozen dataclass a template, every field documented.

A test checks that a template uses exactly the fields of its context. Beside them a template sees
`shell` (`app.web.render.Shell`) and the filters of `app.web.words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from app.contracts.export import Export
from app.contracts.results import ImportModelResult, ImportResult, TrainResult
from app.contracts.views import DatasetView, Health, JobView, ModelView, Page
from app.web.forms.form import FieldView, FormView
from app.web.forms.presets import PresetLink
from app.web.forms.readable import RowGroup
from app.web.pages.ablation import AblationView
from app.web.pages.compare_view import ComparisonView
from app.web.pages.context_parts import (
    Download,
    EvaluationChoice,
    Example,
    JobList,
    Measured,
    SampleSet,
    Step,
)
from app.web.pages.evaluation_view import EvaluationView
from app.web.pages.report_assets import Assets
from app.web.render import Context


@dataclass(frozen=True)
class TrainContext(Context):
    """The form of a new training job."""

    template: ClassVar[str] = "train.html"

    form: FormView
    """Made from `TrainParams`."""
    has_dataset: bool
    """Whether there is anything to train on."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the form."""
    again: JobView | None
    """The job whose parameters fill the form."""


@dataclass(frozen=True)
class EvaluateContext(Context):
    """The form of a new evaluation job."""

    template: ClassVar[str] = "evaluate.html"

    form: FormView
    """Made from `EvaluateParams`."""
    has_model: bool
    """Whether there is anything to evaluate."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the form."""
    again: JobView | None
    """The job whose parameters fill the form."""


@dataclass(frozen=True)
class AblateContext(Context):
    """The form of a new ablation."""

    template: ClassVar[str] = "ablate.html"

    form: FormView
    """Made from `AblationParams`."""
    has_dataset: bool
    """Whether there is anything to train on."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the shared settings."""
    again: JobView | None
    """The job whose parameters fill the form."""


@dataclass(frozen=True)
class AblationPlanContext(Context):
    """How many trainings what is typed would take, or why that cannot be said."""

    template: ClassVar[str] = "_plan.html"

    problems: tuple[str, ...] = ()
    """What is wrong or missing; may quote outside text. Then the rest means nothing."""
    rows: tuple[str, ...] = ()
    """Lines of the table to come."""
    seeds: int = 0
    """Trainings of each line."""
    trainings: int = 0
    """All of them."""
    epochs: int = 0
    """Of all trainings together."""
    evaluations: int = 0
    """How many models are measured on test images."""
    images: int = 0
    """Test images of each evaluation."""
    autoattack: bool = False
    """Whether they run AutoAttack."""
    much: bool = False
    """Whether to advise a smaller one first."""


@dataclass(frozen=True)
class AblationTableContext(Context):
    """The table of an ablation, which its page fetches anew."""

    template: ClassVar[str] = "_ablation.html"

    job: JobView
    """The ablation, in any state."""
    ablation: AblationView
    """The table as it is known now."""


@dataclass(frozen=True)
class AblationChildrenContext(Context):
    """The jobs of an ablation, which its page fetches anew."""

    template: ClassVar[str] = "_children.html"

    ablation: AblationView
    """With the jobs of each row."""


@dataclass(frozen=True)
class JobStateContext(Context):
    """One job's state, as the dashboard and the job's page show it."""

    template: ClassVar[str] = "_job.html"

    job: JobView
    """In any state."""


@dataclass(frozen=True)
class JobContext(Context):
    """One job with all that belongs to it."""

    template: ClassVar[str] = "job.html"

    job: JobView
    """In any state."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    again: str
    """Address of a form filled with the same parameters; empty for kinds without a form."""
    resume: str
    """Address of the form that goes on from the last checkpoint; empty where there is none."""
    evaluation: EvaluationView | None
    """What an evaluation left."""
    trained: TrainResult | None
    """What a training left."""
    imported: ImportResult | None
    """What an import left."""
    brought: ImportModelResult | None
    """What the import of a model left."""
    explained: bool
    """Whether there is something for the live page to show."""
    ablation: AblationView | None
    """The table of an ablation, as it is known now."""


@dataclass(frozen=True)
class DashboardContext(Context):
    """Where the lab stands."""

    template: ClassVar[str] = "dashboard.html"

    health: Health
    """Workers of each queue, broker and database."""
    steps: tuple[Step, ...]
    """What a newcomer does first; empty once all of it is done."""
    latest: JobView | None
    """The latest finished evaluation."""
    evaluation: EvaluationView | None
    """What it left; None where its file is gone."""
    figures: dict[str, Any]
    """Its first charts as Plotly JSON, by name."""
    jobs: JobList
    """The jobs asked for."""


@dataclass(frozen=True)
class JobListContext(Context):
    """The jobs of the dashboard, which fetches them anew while one is unfinished."""

    template: ClassVar[str] = "_jobs.html"

    jobs: JobList
    """The jobs asked for."""


@dataclass(frozen=True)
class ModelsContext(Context):
    """The registered models, or those in the bin."""

    template: ClassVar[str] = "models.html"

    models: Page[ModelView]
    """Newest first."""
    bin: bool
    """Whether these are in the bin."""
    binned: int
    """How many models are in the bin."""


@dataclass(frozen=True)
class ModelContext(Context):
    """One model."""

    template: ClassVar[str] = "model.html"

    model: ModelView
    """With its card."""
    dataset: str
    """The id of what it was trained on, in this lab; empty where the lab lacks it."""
    has_teacher: bool
    """Whether the lab has the teacher that its card names."""
    twin: ModelView | None
    """The other model that its training left: the best or the last epoch."""
    expected: bool
    """Whether someone said what its accuracies on test images would be."""
    params: tuple[RowGroup, ...]
    """What it was trained with; empty for imported weights."""
    measured: Measured | None
    """Its latest finished evaluation."""
    evaluations: tuple[JobView, ...]
    """Recent jobs that measured it."""


@dataclass(frozen=True)
class ImportModelContext(Context):
    """The form of a model's import."""

    template: ClassVar[str] = "import_model.html"

    form: FormView
    """Made from `ImportModelParams`, without file and classes."""
    has_dataset: bool
    """Whether there is anything to check a model on."""
    classes: str
    """What was typed, one a line; outside text."""
    classes_error: str
    """What is wrong with it."""
    file_error: str
    """What is wrong with the file that was sent."""
    max_upload_mb: int
    """The largest file accepted."""


@dataclass(frozen=True)
class DatasetsContext(Context):
    """The datasets, and the ways to add one."""

    template: ClassVar[str] = "datasets.html"

    datasets: tuple[DatasetView, ...]
    """Newest first."""
    imports: tuple[JobView, ...]
    """Imports that are not finished."""
    archive: FormView
    """Import an archive; made from `ImportParams`."""
    drawn: FormView
    """Draw `shapes`; made from `ImportParams`."""
    downloads: tuple[Download, ...]
    """Datasets that torchvision fetches."""
    file_error: str
    """What is wrong with the archive that was sent."""
    max_upload_mb: int
    """The largest archive accepted."""


@dataclass(frozen=True)
class DatasetContext(Context):
    """One dataset with samples of each class."""

    template: ClassVar[str] = "dataset.html"

    dataset: DatasetView
    """With the report of its import."""


@dataclass(frozen=True)
class LiveContext(Context):
    """The live view: an image, two models, an attack."""

    template: ClassVar[str] = "live.html"

    fields: dict[str, FieldView]
    """Made from `ExplainParams`, by name."""
    ready: bool
    """Whether there is a model to attack."""
    examples: tuple[Example, ...]
    """Photographs to try, of whatever the models were trained on."""
    samples: tuple[SampleSet, ...]
    """Test images to try, a set for each dataset."""
    job: str
    """The id of an earlier explain job to show; empty for none."""
    given: str
    """Address of a test image to begin with; empty for none."""
    settings: dict[str, Any]
    """What the script needs: the colour table of attention maps, and the classes of each model."""


@dataclass(frozen=True)
class CompareContext(Context):
    """Evaluations side by side, and a choice of them."""

    template: ClassVar[str] = "compare.html"

    view: ComparisonView | None
    """None where nothing is compared."""
    figures: dict[str, Any]
    """Its charts as Plotly JSON, by name."""
    choices: tuple[EvaluationChoice, ...]
    """The chosen ones first, then the newest."""
    most: int
    """How many evaluations may be chosen."""
    alone: bool
    """Whether all that was chosen is one evaluation of one model."""
    problem: str
    """Why those chosen cannot be compared, and what to do; may quote outside text."""


@dataclass(frozen=True)
class ReportContext(Context):
    """A finished evaluation as one file."""

    template: ClassVar[str] = "report.html"

    job: JobView
    """Which succeeded."""
    exported: Export
    """Where data and models come from."""
    evaluation: EvaluationView
    """What it left."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    body: str
    """The same as the JSON that asks for it again."""
    figures: dict[str, Any]
    """All charts as Plotly JSON, by name."""
    assets: Assets
    """Styles and scripts, written into the file."""

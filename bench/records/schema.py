"""The schema of a record: one cell's question and answer.

Every summary, table and figure is a function of records. Records are never edited, except that the difference to the
unmerged model is updated when that model is measured again (`bench.run.differences`). `SCHEMA_VERSION` grows when a
field is added, removed or changes its meaning, and `bench.records.migrations` then gets a function from the version
before.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.measure.best_batch import Search
from bench.measure.conditions import Conditions
from bench.measure.disturbance import Disturbance
from bench.measure.energy import Energy
from bench.measure.gates import Gate
from bench.measure.load import LoadColumns
from bench.measure.loading import Loading
from bench.measure.machine import Facts, Machine, Software, Surroundings
from bench.measure.memory import Memory
from fastast.metrics import Task
from fastast.scores import Activation

SCHEMA_VERSION = 9

Status = Literal["ok", "noisy", "disturbed", "implausible", "error", "oom", "timeout"]
"""`disturbed`: something else was at work, or too little was measured: see `Disturbance`, `bench.run.panels`.
`noisy`: every attempt at timing scattered too much. `implausible`: a gate did not pass, whatever else is wrong."""
Kind = Literal["performance", "quality"]


class CellPart(Facts):
    """The cell and its question."""

    id: str
    """First 12 hex digits of the SHA-256 of the canonical question."""
    kind: Kind
    question: dict[str, Any]
    """Everything that the answer depends on, except the machine."""


class Suite(Facts):
    """The code that measured."""

    version: str
    commit: str | None
    dirty: bool | None
    """Whether `fastast` or `bench` differed from the commit; None where there is no git."""


class ModelFacts(Facts):
    """The model and what the reduction does to it."""

    name: str
    """Name of the zoo, or file name of the checkpoint."""
    sha256: str | None
    """SHA-256 of the checkpoint; None for random weights."""
    weights: Literal["trained", "random"]
    parameters: int
    geometry: dict[str, int | float | bool]
    tokens_in: int
    """Tokens that enter the first block."""
    tokens_planned: tuple[int, ...]
    """Tokens that leave each block by the schedule; with a threshold, which leaves it to the clips, the fewest."""
    tokens_measured: tuple[int, ...]
    """Tokens that left each block in a real forward; with a threshold the mean over the clips, rounded."""
    macs_per_clip: int
    """Multiply-accumulates by formula; with a threshold the mean over the clips."""
    macs_counted: int | None
    """MACs that PyTorch counted in a forward without data, operator by operator; None where they were not counted."""
    macs_unmerged: int


class AttentionFacts(Facts):
    """How attention was computed."""

    asked: str
    kernel: str
    """What `asked` resolved to."""
    backend_ran: str | None
    """PyTorch backend that the profiler saw; several are joined by `+`, and `math` is bmm and softmax."""


class EngineFacts(Facts):
    """How an engine ran the candidate."""

    path: Literal["triton", "plain", "onnxruntime", "openvino"]
    """The fused kernels, the model's forward in plain PyTorch where they cannot run, or another runtime."""
    why_plain: str
    """Why the kernels did not run; empty where they did."""
    kernels: dict[str, str]
    """What each stage ran on; for another runtime its version, its products by type, and how attention is computed."""


class Warmup(Facts):
    """How warm-up ended."""

    rule: str
    iterations: dict[str, int]
    """Iterations, by arm."""
    stable: dict[str, bool]
    """Whether the arm became stable before its limit."""


class Noise(Facts):
    """How quiet the measurement was."""

    value: float
    """Inter-quartile range of the per-round ratio over its median, the largest of all baselines."""
    limit: float
    attempts: tuple[float, ...]
    """Values of all attempts; the quietest one was kept."""


class ArmTimes(Facts):
    """Raw samples of one arm."""

    seconds: tuple[float, ...]
    """Seconds of every iteration of one batch, in the order of measurement."""
    iterations_per_round: int
    batch_size: int
    """Clips per batch."""
    first_call_s: float | None
    """The very first call, seconds: compilation, graph capture, set-up of libraries. Not a sample."""
    load: LoadColumns | None
    """What else went on in every round; None where it was not recorded."""


class Performance(Facts):
    """Samples of a performance cell; the arm `candidate` is the cell's question."""

    clock: str
    input: str
    """What was fed, and what is timed."""
    search: dict[str, Search] | None
    """How each arm's batch size was found; None where the cell fixes it."""
    flushed_bytes: int
    """Bytes written before every sample so that caches hold nothing of the model; 0 where they were left alone."""
    warmup: Warmup
    noise: Noise
    disturbance: Disturbance | None
    """What disturbed the rounds; None where it was not recorded."""
    rounds: int
    arms: dict[str, ArmTimes]
    left_out: dict[str, str] = Field(default_factory=dict)
    """Arms of `measure.where_installed` that were not timed, and why."""
    attention: dict[str, str] = Field(default_factory=dict)
    """For those that were timed, the attention that the profiler saw, with its version unless it is part of PyTorch."""
    memory: Memory
    energy: Energy | None
    """Energy of the arms; None where it was not asked for."""


class ClipTokens(Facts):
    """How many tokens the clips had, where a reduction with a threshold gives each its own number."""

    left: dict[str, int]
    """Number of clips by the tokens that left their last block, ascending."""
    mean: tuple[float, ...]
    """Tokens that left each block, mean over the clips."""
    least: tuple[int, ...]
    """Tokens that left each block, fewest over the clips."""
    most: tuple[int, ...]
    """Tokens that left each block, most over the clips: what a batch of all clips would be padded to."""


class Delta(Facts):
    """Paired difference to the unmerged model on the same clips."""

    mAP: float  # noqa: N815
    interval: tuple[float, float]
    accuracy: float | None
    """Difference in top-1 accuracy; None where clips can have several labels."""
    accuracy_interval: tuple[float, float] | None
    against: str
    """Id of the unmerged model's cell."""
    top1_agreement: float
    """Share of clips whose best class is the same."""
    largest_score_difference: float


class Quality(Facts):
    """Metrics of a quality cell, computed from the stored predictions."""

    dataset: str
    split: str
    task: Task
    """How the data set is scored: mAP of clips with any number of labels, accuracy of clips with one."""
    clips: int
    """Clips that were scored."""
    skipped: tuple[str, ...]
    """Ids of the clips that could not be read and were left out."""
    cut: int
    """Clips longer than the model's input, whose ends were not heard."""
    reading: dict[str, str]
    """How the files were read: channels, resampler, decoder; empty for mixed clips."""
    ids_sha256: str
    """Hash of the ids of the scored clips: only cells with the same hash can be compared."""
    clips_sha256: str
    matches_reference: bool | None
    """Whether the mixed clips are bit for bit those of the reference machine; None where not known."""
    activation: Activation
    """What turns logits into scores; metrics are those of the scores, without their saturation."""
    columns: tuple[int, ...] | None
    """Index of the model's output for each class of the data; None where the order is the same."""
    classes: int
    classes_without_positives: int
    """Classes left out of the means."""
    mAP: float  # noqa: N815
    mAP_interval: tuple[float, float]  # noqa: N815
    AUC: float
    d_prime: float | None
    """None where it is infinite: the AUC is 0 or 1."""
    accuracy: float | None
    """Top-1 accuracy; None where clips can have several labels."""
    accuracy_interval: tuple[float, float] | None
    AP: dict[str, float | None]
    """Average precision by class; None for a class without positives."""
    class_AUC: dict[str, float | None] | None  # noqa: N815
    """AUC by class, None for one without positives or without negatives; None as a whole where it was not kept."""
    replicates: int
    """Bootstrap replicates behind the intervals."""
    delta: Delta | None
    clip_tokens: ClipTokens | None
    """How many tokens the clips had; None where all have the same number."""
    seconds: float
    """Wall time of the predictions."""
    loading: Loading | None
    """Whether loading kept up with the model; None where it was not recorded."""


class Record(BaseModel):
    """One cell's answer on one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    schema_version: Literal[9] = 9
    cell: CellPart
    sweep: str
    status: Status
    message: str
    """Empty, or what went wrong."""
    attempt: int = 1
    """2 where a first measurement in the same run was disturbed and the cell was measured again at its end."""
    started: datetime
    finished: datetime
    command: tuple[str, ...]
    suite: Suite
    machine: Machine
    software: Software
    surroundings: Surroundings | None
    """Threads, waiting, freed memory, denormals; None where the cell failed, or they were not recorded."""
    conditions: Conditions
    gates: tuple[Gate, ...]
    """What was checked against something independent, and whether it passed; empty for a failed cell."""
    model: ModelFacts | None
    attention: AttentionFacts | None
    engine: EngineFacts | None
    """None where no engine was asked for: the model's own forward ran."""
    performance: Performance | None
    quality: Quality | None

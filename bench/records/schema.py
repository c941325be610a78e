"""The schema of a record: one cell's question and answer.

Every summary, table and figure is a function of records; nothing edits one, but that its difference to the unmerged
model follows where that is measured again (`bench.run.differences`). `SCHEMA_VERSION` grows when a field is added,
changes its meaning or goes away, and `bench.records.migrations` then gets the function from the version before.
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
`noisy`: every attempt at timing scattered too much. `implausible`: a gate did not pass, whatever else."""
Kind = Literal["performance", "quality"]


class CellPart(Facts):
    """The question."""

    id: str
    """First 12 hex digits of the SHA-256 of the canonical question."""
    kind: Kind
    question: dict[str, Any]
    """Everything that the answer depends on, the machine excepted."""


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
    """Of the checkpoint; None for random weights."""
    weights: Literal["trained", "random"]
    parameters: int
    geometry: dict[str, int | float | bool]
    tokens_in: int
    """Tokens that enter the first block."""
    tokens_planned: tuple[int, ...]
    """Tokens that leave each block, by the schedule; the fewest, where a threshold leaves it to the clips."""
    tokens_measured: tuple[int, ...]
    """Tokens that left each block in a real forward; with a threshold the mean over the clips, rounded."""
    macs_per_clip: int
    """Multiply-accumulates by formula; with a threshold the mean over the clips."""
    macs_counted: int | None
    """Those that PyTorch counted of a forward without data, operator by operator; None where nobody counted."""
    macs_unmerged: int


class AttentionFacts(Facts):
    """How attention was computed."""

    asked: str
    kernel: str
    """What `asked` resolved to."""
    backend_ran: str | None
    """Backend of PyTorch that the profiler saw; several are joined by `+`, `math` is bmm and softmax."""


class EngineFacts(Facts):
    """What an engine made of the candidate."""

    path: Literal["triton", "plain", "onnxruntime", "openvino"]
    """The fused kernels, the model's forward in plain PyTorch where they cannot run, or another runtime."""
    why_plain: str
    """Why the kernels did not run; empty where they did."""
    kernels: dict[str, str]
    """What each stage ran on; of another runtime its version, its products by type, and how attention is computed."""


class Warmup(Facts):
    """How warm-up ended."""

    rule: str
    iterations: dict[str, int]
    """By arm."""
    stable: dict[str, bool]
    """Whether the arm became stable before its limit."""


class Noise(Facts):
    """How quiet the measurement was."""

    value: float
    """Inter-quartile range of the per-round ratio over its median, the largest of all baselines."""
    limit: float
    attempts: tuple[float, ...]
    """Of every attempt; the quietest one was kept."""


class ArmTimes(Facts):
    """Raw samples of one arm."""

    seconds: tuple[float, ...]
    """Every iteration of one batch, seconds, in the order of measurement."""
    iterations_per_round: int
    batch_size: int
    """Clips a batch."""
    first_call_s: float | None
    """The very first call, seconds: compilation, graph capture, what libraries set up. It is no sample."""
    load: LoadColumns | None
    """What else went on in every round; None where nobody looked."""


class Performance(Facts):
    """Samples of a performance cell; the arm `candidate` is the cell's question."""

    clock: str
    input: str
    """What was fed, and what is timed."""
    search: dict[str, Search] | None
    """How each arm's batch size was found; None where the cell fixes it."""
    flushed_bytes: int
    """Written before every sample so that caches hold nothing of the model; 0 where they were left alone."""
    warmup: Warmup
    noise: Noise
    disturbance: Disturbance | None
    """None where nobody looked."""
    rounds: int
    arms: dict[str, ArmTimes]
    left_out: dict[str, str] = Field(default_factory=dict)
    """Arms of `measure.where_installed` that were not timed, and why."""
    attention: dict[str, str] = Field(default_factory=dict)
    """Of those that were: the attention that the profiler saw, with its version where it is no part of PyTorch."""
    memory: Memory
    energy: Energy | None
    """None where it was not asked for."""


class ClipTokens(Facts):
    """How many tokens clips had, each its own number: of a reduction with a threshold."""

    left: dict[str, int]
    """Clips by the tokens that left their last block, rising."""
    mean: tuple[float, ...]
    """Tokens that left each block, mean over the clips."""
    least: tuple[int, ...]
    """Of the clip with the fewest, by block."""
    most: tuple[int, ...]
    """Of the clip with the most, by block: what a batch of all clips would be padded to."""


class Delta(Facts):
    """Paired difference to the unmerged model on the same clips."""

    mAP: float  # noqa: N815
    interval: tuple[float, float]
    accuracy: float | None
    """Of top-1 accuracy; None where clips can have several labels."""
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
    """Clips longer than the model's input, of which the end was not heard."""
    reading: dict[str, str]
    """How the files were read: channels, resampler, decoder; empty of clips that are mixed."""
    ids_sha256: str
    """Of the clips that were scored: only cells of one hash can be compared."""
    clips_sha256: str
    matches_reference: bool | None
    """Whether the mixed clips are bit for bit those of the reference machine; None where not known."""
    activation: Activation
    """What makes scores of the logits; metrics are those of the scores, without their saturation."""
    columns: tuple[int, ...] | None
    """Which of the model's outputs each class of the data is; None where the order is the same."""
    classes: int
    classes_without_positives: int
    """Classes left out of the means."""
    mAP: float  # noqa: N815
    mAP_interval: tuple[float, float]  # noqa: N815
    AUC: float
    d_prime: float | None
    """None where it is infinite: the AUC is 0 or 1."""
    accuracy: float | None
    """Top-1; None where clips can have several labels."""
    accuracy_interval: tuple[float, float] | None
    AP: dict[str, float | None]
    """By class; None without positives."""
    class_AUC: dict[str, float | None] | None  # noqa: N815
    """By class; None without positives or without negatives, or as a whole where it was not kept."""
    replicates: int
    """Bootstrap replicates behind the intervals."""
    delta: Delta | None
    clip_tokens: ClipTokens | None
    """None where every clip has as many tokens."""
    seconds: float
    """Wall time of the predictions."""
    loading: Loading | None
    """Whether loading kept up with the model; None where nobody looked."""


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
    """2 where a first measurement of the same run was disturbed, and this one replaced it at the end of the run."""
    started: datetime
    finished: datetime
    command: tuple[str, ...]
    suite: Suite
    machine: Machine
    software: Software
    surroundings: Surroundings | None
    """Threads, waiting, freed memory, denormals; None where the cell did not live to say, or nobody asked."""
    conditions: Conditions
    gates: tuple[Gate, ...]
    """What was held against something independent, and whether it passed; empty of a cell that failed."""
    model: ModelFacts | None
    attention: AttentionFacts | None
    engine: EngineFacts | None
    """None where no engine was asked for: the model's own forward ran."""
    performance: Performance | None
    quality: Quality | None

"""Documents say what the records say: their sentences follow from queries, and fail where these no longer agree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.claims.check import evaluate_claims, fill_documents, sources
from bench.claims.claim import ClaimError, DocumentClaim, Quantity, read_claims
from bench.claims.condition import Condition
from bench.claims.documents import claims_in, fill
from bench.claims.query import Tables, broken, look_up, sentence_of
from bench.cli import app

ROOT = Path(__file__).parents[3]
TABLE = pd.DataFrame(
    {
        "cell": ["a", "b", "c"],
        "schedule": ["none", "constant:20", "constant:40"],
        "r": [0, 20, 40],
        "speedup": [1.0, 1.25, 1.5],
        "speedup_low": [float("nan"), 1.2, 0.9],
        "speedup_high": [float("nan"), 1.3, 1.6],
        "delta": [float("nan"), -0.00125, 0.002],
        "attention": ["eager", None, "flash"],
        "is_merged": [False, True, True],
        "failed": [float("nan")] * 3,
    }
)


class Given(Tables):
    """Tables that a test makes."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table

    def of(self, number: Quantity) -> pd.DataFrame:
        return self._table


def claim(text: str = "{x} times", holds: tuple[str, ...] = (), **number: object) -> DocumentClaim:
    asked = {"sweep": "s", "column": "speedup", "where": {"schedule": "constant:20"}} | number
    return DocumentClaim(name="one", text=text, numbers={"x": Quantity(**asked)}, holds=holds)  # type: ignore[arg-type]


def said(one: DocumentClaim, table: pd.DataFrame = TABLE) -> str:
    return sentence_of(one, look_up(one, Given(table)))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ({}, "1.25 times"),
        ({"interval": True}, "1.25 [1.20, 1.30] times"),
        ({"where": {"r": ">= 20"}, "take": "max"}, "1.50 times"),
        ({"where": {"r": "> 20"}}, "1.50 times"),
        ({"where": {"schedule": "!= none", "r": "<= 20"}}, "1.25 times"),
        ({"where": {"schedule": ["none", "constant:40"]}, "take": "mean"}, "1.25 times"),
        ({"where": {"speedup": "!= 1"}, "take": "list", "name": "schedule"}, "constant:20 and constant:40 times"),
        ({"where": {"speedup": "== 1.50"}}, "1.50 times"),
        ({"where": {"delta": "!= 0.002"}}, "1.25 times"),  # the missing one is not another one
        ({"where": {"attention": "!= flash"}}, "1.00 times"),
        ({"where": {"is_merged": "!= true"}}, "1.00 times"),
        ({"where": {"failed": "oom"}, "take": "count", "form": "{:.0f}"}, "0 times"),  # of nothing, no kind is known
        ({"where": {"is_merged": True, "r": "!= 20"}}, "1.50 times"),
        ({"where": {"speedup": "< 1"}, "take": "count", "form": "{:.0f}"}, "0 times"),
        ({"column": "delta", "form": "{:+.2f}", "times": 100}, "−0.12 times"),
        ({"where": {"r": "largest"}}, "1.50 times"),
        ({"where": {"r": "largest", "schedule": ["none", "constant:20"]}}, "1.25 times"),
        ({"where": {"r": "largest", "speedup": "< 1.4"}, "take": "count", "form": "{:.0f}"}, "0 times"),
        ({"where": {}, "take": "max", "name": "schedule"}, "constant:40 times"),
        ({"where": {"r": "> 0"}, "take": "list", "name": "schedule"}, "constant:20 and constant:40 times"),
        ({"where": {}, "take": "list", "name": "schedule"}, "none, constant:20 and constant:40 times"),
        ({"where": {"r": "> 40"}, "take": "list", "name": "schedule"}, "none times"),
        ({"where": {"r": "> 40"}, "take": "list", "name": "schedule", "lead": "not by: "}, " times"),
        ({"where": {"r": "> 20"}, "take": "list", "name": "schedule", "lead": "not by: "}, "not by: constant:40 times"),
        ({"column": "delta", "where": {"delta": "missing"}, "take": "list", "name": "schedule"}, "none times"),
        ({"where": {"delta": "missing"}, "take": "count", "form": "{:.0f}"}, "1 times"),
        ({"where": {"speedup": "missing"}, "take": "count", "form": "{:.0f}"}, "0 times"),
        (
            {"where": {"r": "> 0"}, "take": "list", "name": "schedule", "interval": True},
            "constant:40 (1.50 [0.90, 1.60]) and constant:20 (1.25 [1.20, 1.30]) times",
        ),
    ],
)
def test_a_number_is_written_as_its_query_asks(number: dict, text: str) -> None:
    assert said(claim(**number)) == text


@pytest.mark.parametrize("ok", ["ok", "== ok", ["ok"]])
def test_the_largest_is_that_of_the_rows_that_equalities_leave_however_they_are_written(ok: str | list[str]) -> None:
    table = TABLE.assign(status=["ok", "ok", "noisy"])
    for where in ({"status": ok, "r": "largest"}, {"r": "largest", "status": ok}):
        assert said(claim(where=where), table) == "1.25 times"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.2, "above"),
        (-0.1, 0.2, "between"),
        (-0.2, -0.1, "below"),
        (0.00004, 0.2, "between"),  # it is written 0.0000
        (0.00006, 0.2, "above"),
        (-0.2, -0.00004, "between"),
        (-0.2, -0.00006, "below"),
    ],
)
def test_an_interval_is_written_in_words(low: float, high: float, word: str) -> None:
    table = TABLE.assign(speedup_low=low, speedup_high=high)
    assert said(claim("it is {x}", words=("below", "between", "above")), table) == f"it is {word}"


def test_of_what_is_not_measured_yet_a_document_says_so(tmp_path: Path) -> None:
    asked = Quantity(ablation="ablation_none", column="value", take="count", form="{:.0f}")
    text = {"name": "one", "text": "{x} alternatives", "numbers": {"x": asked}}
    tables = Tables(tmp_path, tmp_path)
    assert tables.misses(DocumentClaim(**text))  # type: ignore[arg-type]
    path = tmp_path / "claims.toml"
    number = 'x = { ablation = "ablation_none", column = "value", take = "count", form = "{:.0f}" }'
    lines = ["[one]", 'text = "{x} alternatives"', "[one.numbers]", number]
    path.write_text("\n".join(lines))
    with pytest.raises(ClaimError, match=r"ablation.csv is missing; run: python -m bench render"):
        evaluate_claims(path, tmp_path)
    path.write_text("\n".join([lines[0], 'unmeasured = "(not measured yet)"', *lines[1:]]))
    found = evaluate_claims(path, tmp_path)
    assert found["one"].sentence == "(not measured yet)"
    assert "## one" not in sources(found)


def test_a_changed_record_changes_the_sentence_or_refutes_it() -> None:
    one = claim("{x} times as fast", holds=("x.low > 1", "x < 1.4"))
    values = look_up(one, Given(TABLE))
    assert (said(one), broken(one, values)) == ("1.25 times as fast", [])
    faster = TABLE.assign(speedup=TABLE["speedup"] + 0.1)
    assert said(one, faster) == "1.35 times as fast"
    slower = TABLE.assign(speedup_low=0.97)
    assert broken(one, look_up(one, Given(slower))) == ["x.low (0.97) > 1"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ({"where": {}}, "one.x: 3 rows match {}, not one: a none; b constant:20"),
        ({"where": {"schedule": "constant:30"}}, "one.x: 0 rows match"),
        ({"column": "speed_up"}, "unknown column 'speed_up'. Did you mean 'speedup'?"),
        ({"where": {"scedule": "none"}}, "unknown column 'scedule'. Did you mean 'schedule'?"),
        ({"where": {"schedule": "< 3"}}, "one.x: where schedule = '< 3'"),
        ({"where": {"r": "!= none"}}, "one.x: where r = '!= none'"),
        (
            {"where": {"r": "20"}, "take": "count"},
            "one.x: where r = '20': the column has numbers, and '20' is not one of them",
        ),
        ({"where": {"schedule": 20}, "take": "count"}, "the column has words, and 20.0 is not one of them"),
        ({"where": {"is_merged": 1}, "take": "count"}, "the column has true and false, and 1.0 is not one of them"),
        ({"where": {"schedule": "none"}, "interval": True}, "has no interval"),
        ({"where": {"schedule": "none"}, "column": "delta"}, "no row that matches {'schedule': 'none'} has 'delta'"),
    ],
)
def test_a_query_that_finds_nothing_or_too_much_is_refused(number: dict, message: str) -> None:
    with pytest.raises(ClaimError, match=re.escape(message)):
        said(claim(**number))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("a = 1", "a = 1 is not a claim; write [a] with text and numbers"),
        ("[a]\ntext = 'x'", "a.numbers: Field required"),
        ("[a]\ntext = '{x}'\nnumbers = {}", "a: names 'x'"),
        ("[a]\ntext = '0.5 faster'\nnumbers = {}", "a: has a number typed in"),
        (
            "[a]\ntext = '{x}'\nnumbers.x = {column = 'c'}",
            "a.numbers.x: needs one of sweep, study, ablation, tuning and file",
        ),
        ("[a]\ntext = '{x}'\nnumbers.x = {sweep = 's', column = 'c', form = '{:9999.2f}'}", "a.numbers.x.form"),
        (
            "[a]\ntext = '{x}'\nholds = ['x + 1']\nnumbers.x = {sweep = 's', column = 'c'}",
            "'x + 1' is not a comparison",
        ),
        ("[a]\ntext = 't'\nnumbers.x = {sweep = 's', column = 'c'}", "has the number 'x' but does not use it"),
        (
            "[a]\ntext = '{x}'\nnumbers.x = {sweep = 's', column = 'c', take = 'list'}",
            "does not say of what; set name to a col",
        ),
        (
            "[a]\ntext = '{x}'\nnumbers.x = {sweep = 's', column = 'c', take = 'max', words = ['a', 'b', 'c']}",
            "has words, which need the interval of a single row, but takes",
        ),
        ("[a", "cannot be read"),
    ],
)
def test_what_is_no_claim_is_refused_with_file_claim_and_key(toml: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text(toml)
    with pytest.raises(ClaimError, match=re.escape(message)) as refused:
        read_claims(tmp_path / "claims.toml")
    assert str(tmp_path / "claims.toml") in str(refused.value)


def test_documents_are_filled_and_line_breaks_of_what_is_right_stay() -> None:
    text = "A <!-- claim: one -->1.25\ntimes<!-- /claim -->, <!-- claim: two --><!-- /claim -->."
    filled = fill(text, {"one": "1.25 times", "two": "new"})
    assert filled == "A <!-- claim: one -->1.25\ntimes<!-- /claim -->, <!-- claim: two -->new<!-- /claim -->."
    assert "<!-- claim: one -->1.30 times<!-- /claim -->" in fill(text, {"one": "1.30 times", "two": "new"})
    with pytest.raises(ClaimError, match="no claim 'two' in the claims file; it has: one"):
        fill(text, {"one": "x"})
    with pytest.raises(ClaimError, match="mark of claim 'b' is not closed"):
        claims_in("<!-- claim: a -->x<!-- /claim --> <!-- claim: b -->y")


@pytest.mark.parametrize(
    "mark",
    ["<!--claim: a -->", "<!-- claim:a -->", "<!-- Claim: a -->", "<!-- claim: a-->", "<!-- claim a -->",
     "<!-- claim: a b -->", "<!-- claims: a -->"],
)  # fmt: skip
def test_a_mark_that_is_almost_one_is_refused_and_shown(mark: str) -> None:
    text = f"<!-- claim: b -->y<!-- /claim --> {mark}x<!-- /claim -->"
    with pytest.raises(ClaimError, match=re.escape(f"{mark!r} is not a mark of a claim; write <!-- claim: NAME -->")):
        claims_in(text)
    assert claims_in(text.replace(mark, f"`{mark}`").replace("x<!-- /claim -->", "x")) == ["b"]


@pytest.mark.parametrize("comment", ["<!-- claims are checked -->", "<!-- Claimed: a -->", "<!-- no claim -->"])
def test_an_ordinary_comment_is_no_mark(comment: str) -> None:
    text = f"{comment} <!-- claim: a -->x<!-- /claim -->"
    assert claims_in(text) == ["a"]
    assert fill(text, {"a": "y"}) == f"{comment} <!-- claim: a -->y<!-- /claim -->"


def test_an_end_without_a_beginning_is_refused() -> None:
    with pytest.raises(ClaimError, match=r"'<!--/claim-->' is not a mark of a claim"):
        claims_in("<!-- claim: a -->x<!--/claim-->")
    with pytest.raises(ClaimError, match=r"has <!-- /claim --> 2 times for 1 claims; remove those that end none"):
        claims_in("<!-- claim: a -->x<!-- /claim --> y<!-- /claim -->")


def test_comparisons_are_of_numbers_and_ends_of_intervals() -> None:
    assert Condition.parse("a.low>=-0.5").names == {"a"}
    assert Condition.parse("a <= b.high").holds({"a": 1.0, "b.high": 1.0})


@pytest.fixture(scope="module")
def found():
    return evaluate_claims(ROOT / "reports" / "claims.toml", ROOT / "results")


def test_the_documents_of_this_project_say_what_its_records_say(found) -> None:
    assert fill_documents(ROOT, found, write=False) == []
    assert (ROOT / "reports" / "claims.md").read_text(encoding="utf-8") == sources(found)


def test_a_difference_to_another_model_than_the_speed_is_over_names_it() -> None:
    """A speed over PyTorch beside a difference to the engine's own model leaves out what the engine itself lost."""
    mixed = []
    for one in read_claims(ROOT / "reports/claims.toml").values():
        columns = {number.column for number in one.numbers.values() if number.sweep}
        elsewhere = {name for name in columns if re.match("speedup_(?!unmerged|slice)", name)}
        if elsewhere and any(name.startswith("delta_") for name in columns):
            mixed.append(one)
            assert "its own unmerged" in one.text, one.name
            assert "mAP" in columns, one.name
    assert mixed


def test_a_number_changed_by_hand_is_found(found, tmp_path: Path) -> None:
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "studies_repair.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("1.8 times the throughput", "1.9 times the throughput", 1), encoding="utf-8")
    options = ["--root", str(tmp_path), "--results", str(ROOT / "results"), "--file", str(ROOT / "reports/claims.toml")]
    checked = CliRunner().invoke(app, ["claims", "--check", *options])
    assert checked.exit_code == 1
    assert f"{page}: not what the records say; run: python -m bench claims" in checked.output
    assert fill_documents(tmp_path, found, write=True) == [page]
    assert page.read_text(encoding="utf-8") == right


FIGURE = re.compile(r"(?<![\w.:/-])[+−-]?\d+\.\d+(?![\w.]|\.\d)|(?<![\w.])\d+ ?%")
NOT_MEASURED = re.compile(
    r"<!-- claim:.*?<!-- /claim -->|<!-- results:.*?<!-- end of results -->|^```.*?^```|`[^`]*`|^\|.*?$|^<!--.*?-->|"
    r"λ of\s+[\d.]+|up to 2 % of a\s+weight|arXiv \S+|Python \d\.\d+|Apache \d\.\d|"
    r"\d+(\.\d+)?\s(million|GB|s\b)|95 %|transformers [\d.]+",
    re.DOTALL | re.MULTILINE,
)
"""What is no figure of a measurement, or is one that code wrote."""


SETTINGS = {
    "docs/ablations.md": ["0.002", "0.005", "0.01"],  # losses at which speeds are compared
    "docs/data.md": ["0.004"],  # float16 of a filterbank
    "docs/distillation.md": ["44.1"],  # kHz
    "docs/exporting.md": ["0.25"],  # what logits of int8 may differ by
    "docs/figures.md": ["6.75", "4.9", "3.25", "6.5"],  # inches
    "docs/gpu.md": ["0.999"],  # a cosine that a test asks for
    "docs/measuring.md": ["1.25"],  # beyond which a cell is disturbed
    "docs/streaming.md": ["0.5", "44.1"],  # a threshold, kHz
    "docs/training.md": ["0.1"],  # what a test asks for
}
"""Figures of prose that measure nothing: limits, options, units."""
KERNELS = ("docs/kernels.md", "docs/kernels_merging.md")
"""Pages with figures of versions and of what is expected: they have tests of their own."""
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
DOCUMENTS += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name not in KERNELS])
def test_prose_has_no_figure_that_was_typed_in(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert FIGURE.findall(NOT_MEASURED.sub("", text)) == SETTINGS.get(name, [])


@pytest.mark.parametrize("name", KERNELS)
def test_what_a_gpu_measured_without_leaving_a_record_stands_in_a_file(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(claims_in(text)) > 5
    sentences = re.split(r"(?<=[.;|])\s", re.sub(r"<!-- claim:.*?<!-- /claim -->", "", text, flags=re.DOTALL))
    measured = [one for one in sentences if re.search("prototype|measured", one) and "expected" not in one.lower()]
    assert [one for one in measured if re.search(r"\d+(\.\d+)? (ms|TFLOP/s)", one)] == []


COUNTED = re.compile(
    r"\d[\d.,]* (MB|GB|TB/s|GFLOP|TFLOP/s|ms|µs|registers|instructions|programs|comparisons|bytes (per|spilled))\b"
)
"""What the code can count or compile again: it stands in `reports/counted.csv`."""
WRITTEN_BY_CODE = re.compile(
    r"<!-- claim:.*?<!-- /claim -->|<!-- roofline:.*?<!-- end of roofline -->|^```.*?^```|`[^`]*`",
    re.DOTALL | re.MULTILINE,
)
BY_HAND = {"docs/kernels_merging.md": ["2.9 GB", "0.9 ms"]}
"""Plain torch's filterbank, operation by operation."""


@pytest.mark.parametrize("name", KERNELS)
def test_what_code_counts_or_compiles_is_not_typed_into_prose(name: str) -> None:
    text = WRITTEN_BY_CODE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    said = [one for one in re.split(r"(?<=[.;|])\s", text) if "expected" not in one.lower()]
    assert [found.group() for one in said for found in COUNTED.finditer(one)] == BY_HAND.get(name, [])


def test_a_number_can_come_from_a_file_beside_the_claims(tmp_path: Path) -> None:
    (tmp_path / "clock.csv").write_text("name,value,machine,date\nset_up,2.5,laptop,2026-01-01\n")
    (tmp_path / "claims.toml").write_text(
        "[one]\ntext = 'it took {x} minutes'\nholds = ['x < 3']\n"
        "numbers.x = {file = 'clock', column = 'value', where = {name = 'set_up'}, form = '{:.1f}'}"
    )
    found = evaluate_claims(tmp_path / "claims.toml", tmp_path / "results")
    assert found["one"].sentence == "it took 2.5 minutes"
    assert "| x | 2.5 | `value` of file `clock.csv`: `set_up` | laptop | 2026-01-01 |" in sources(found)
    (tmp_path / "clock.csv").write_text("name,value\nset_up,3.5\n")
    with pytest.raises(ClaimError, match=r"one no longer holds: x \(3.5\) < 3"):
        evaluate_claims(tmp_path / "claims.toml", tmp_path / "results")
    (tmp_path / "clock.csv").rename(tmp_path / "clocks.csv")
    with pytest.raises(ClaimError, match="unknown file 'clock'. Did you mean 'clocks'?"):
        evaluate_claims(tmp_path / "claims.toml", tmp_path / "results")

"""The HTML page of a report, self-contained: it opens from a file and loads nothing from the network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.records.schema import Record
from bench.report.beside import NOTHING, Beside
from bench.report.figures import FIGURES
from bench.report.loading import loading_text
from bench.report.panels import panels
from bench.report.published.figures import TITLE, about_published, published, published_table
from bench.report.tables.cells import panel_name, readable
from bench.report.tables.columns import WORDS, columns_of, explain
from bench.report.words import FAILURES, NOT_MEASURED, runtime_words


def page(
    joined: pd.DataFrame,
    drawn: Mapping[str, str],
    texts: Mapping[str, str],
    failed: Sequence[Record],
    records: Sequence[Record],
    sweep: str,
    beside: Beside = NOTHING,
) -> str:
    """Return the page.

    drawn: each figure as SVG, or the reason why it could not be drawn. texts: the other files of the report, which the
    page links by name. failed: the records that are not `ok`. beside: files that another command wrote into the
    report's folder, which the page shows and links.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = [
        {
            "caption": one.caption,
            "title": one.caption.partition(".")[0],
            "svg": Markup(inline_svg(drawn[name], name, f"{sweep}: {one.caption}"))
            if drawn[name].startswith("<")
            else None,
            "reason": beside.instead(drawn[name]),
        }
        for name, one in FIGURES.items()
    ]
    compared = [
        {"caption": caption, "svg": Markup(inline_svg(svg, name, f"{sweep}: {caption}"))}
        for name, (svg, caption) in beside.figures.items()
    ]
    elsewhere = published(sweep)
    return environment.get_template("page.html").render(
        sweep=sweep,
        figures=[*compared, *figures],  # the alternatives are what such a sweep is about
        published=(TITLE, about_published(joined), *published_table(elsewhere)) if elsewhere else None,
        panels=[
            (panel_name(panel), list(columns_of(panel).items()), readable(panel).to_dict("records"))
            for _, panel in panels(joined)
        ],
        words=WORDS,
        missing={NOT_MEASURED, *FAILURES.values()},
        explanation=" ".join(filter(None, [*explain(joined), loading_text(records)])),
        facts=facts(records),
        total=len(records),
        statuses=[f"{count} {status}" for status, count in sorted(Counter(record.status for record in failed).items())],
        listed=[(record, _asked(record)) for record in failed],
        files=sorted(texts),
        beside=beside.files,
    )


def facts(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Return what the records were made with, every fact with all its values."""

    def values(*names: str) -> list[str]:
        found = []
        for record in records:
            value: Any = record
            for name in names:
                value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if value is not None:
                found.append(str(value))
        return sorted(set(found))

    listed = [
        ("Device", values("machine", "device_name")),
        ("CPU threads", values("machine", "threads")),
        ("CPU instructions", values("software", "cpu_capability")),
        ("GPU driver", values("machine", "gpu", "driver")),
        ("Model", values("model", "name")),
        ("Weights (SHA-256)", values("model", "sha256")),
        ("Attention backend", values("attention", "backend_ran")),
        ("Python", values("software", "python")),
        ("PyTorch", values("software", "torch")),
        ("Other runtimes", sorted({runtime_words(one) for one in values("engine", "kernels", "runtime")})),
        ("CUDA", values("software", "cuda")),
        ("timm", values("software", "timm")),
        ("FastAST", values("suite", "version")),
        ("Commit", values("suite", "commit")),
        ("Code differed from its commit", values("suite", "dirty")),
        ("Clips (SHA-256)", values("quality", "clips_sha256")),
        ("First measured (UTC)", [min(record.started for record in records).strftime("%Y-%m-%d %H:%M")]),
        ("Last measured (UTC)", [max(record.finished for record in records).strftime("%Y-%m-%d %H:%M")]),
    ]
    return [(name, found) for name, found in listed if found]


def inline_svg(text: str, name: str, title: str) -> str:
    """Return an SVG file as an element of a page: without its XML head, and with a title for those who cannot see it.

    Its ids get the prefix `name`, as those of several figures on one page would clash.
    """
    from markupsafe import escape

    element = text[text.index("<svg") :]
    element = re.sub(r'\b(id="|xlink:href="#|href="#|url\(#)', rf"\g<1>{name}-", element)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 role="img"', element, count=1)
    end = element.index(">") + 1
    return f"{element[:end]}<title>{escape(title)}</title>{element[end:]}"


def _asked(record: Record) -> str:
    """Return a record's question in a few words."""
    question = record.cell.question
    reduction = question["reduction"]
    model = question.get("model", {})
    start = [f"stride {model['stride']}"] if "stride" in model else []
    start += ["own length"] if "length" in model else []
    asked = [reduction["method"], reduction["schedule"]] if reduction else []
    what = " ".join([*start, *asked]) or "unmerged"
    batch = question["workload"].get("batch_size")
    scope = question.get("measure", {}).get("scope")
    return ", ".join([what, *([f"batch {batch}"] if batch else []), question["dtype"], *([scope] if scope else [])])

"""Stand-ins for cells on the nodes of a cluster: a node is the machine that its variable FAKE_MACHINE names.

Beside what `cheap_runners` does on demand: `once:600` sleeps so long the first time, and every process logs
`cell, machine, start, end, own id, clips of the reference`.
"""

from __future__ import annotations

import dataclasses
import os
import time

import cheap_runners
import numpy as np

from bench.run.launchers import Runners

RUNNERS = Runners(probe="cluster_runners:probe", prepare="cluster_runners:prepare", answer="cluster_runners:answer")


def probe(device, threads):
    machine, software = cheap_runners.probe(device, threads)
    key = (
        os.environ.get("FAKE_MACHINE", "abacus") if device == "cuda" else f"cpu-{os.environ.get('FAKE_CPU', 'abacus')}"
    )
    return machine.model_copy(update={"key": key, "device": device}), software


def prepare(*arguments):
    return os.environ.get("FAKE_MACHINE")


def answer(cell, context):
    machine, software = probe(cell.device, None)
    begun = time.time()
    clips = "-" if context.reference is None else len(np.load(context.reference[1])["logits"])
    with cell.model.path.open("a") as file:
        file.write(f"begin {cell.id} {machine.key} {begun} 0 {os.getpid()} {clips}\n")
    what, _, value = cell.model.name.partition(":")
    if what == "once" and cell.model.path.read_text().count(f"begin {cell.id}") == 1:
        time.sleep(float(value))
    result = cheap_runners.answer(dataclasses.replace(cell, model=dataclasses.replace(cell.model, path=None)), context)
    with cell.model.path.open("a") as file:
        file.write(f"end {cell.id} {machine.key} {begun} {time.time()} {os.getpid()} {clips}\n")
    return dataclasses.replace(result, machine=machine, software=software)


def cell(what, number, *, log, device, kind="performance", reduction=None, threads=None):
    made = cheap_runners.cell(what, number, log=log, kind=kind)
    measure = made.measure.model_copy(update={"threads": threads, "time_limit_s": 120.0})
    return dataclasses.replace(made, device=device, reduction=reduction, measure=measure)


def lines(log, kind):
    """Return the log's lines of one kind."""
    found = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [
        {
            "cell": cell,
            "machine": machine,
            "begun": float(begun),
            "ended": float(ended),
            "pid": int(pid),
            "clips": clips,
        }
        for which, cell, machine, begun, ended, pid, clips in (line for line in found if len(line) == 7)
        if which == kind
    ]

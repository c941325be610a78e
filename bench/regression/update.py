"""`python -m bench.regression.update`: measure the gate values of this commit and write them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.measure.machine import describe_machine, resolve_device
from bench.regression.cases import CASES, Case, arms_of, ratios
from bench.regression.gates import PATH, Gates, load_gates, to_toml
from bench.regression.proxies import REMOVALS, count
from bench.regression.timing import measure_times
from fastast.statistics import Estimate
from fastast.system.writing import write_whole

ROUNDS = 21
"""Number of interleaved rounds for a gate value."""
ATTEMPTS = 3
"""Most measurements of a case that is too noisy."""
WIDEST = 0.15
"""Widest interval of a ratio, as a share of it, with which it can be a gate."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `gates.toml`; values that are not measured now stay as they are in the file."""
    parser = argparse.ArgumentParser(prog="python -m bench.regression.update", description=__doc__)
    parser.add_argument("--device", default="cpu", help="where ratios are measured: cpu, cuda, auto")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    parser.add_argument("--only", choices=("proxies", "ratios"), help="measure only these")
    parser.add_argument("--out", type=Path, default=PATH, help="the file to write (default: the one of the gate)")
    options = parser.parse_args(arguments)
    try:
        device = resolve_device(options.device)
    except ValueError as error:
        parser.error(f"--device: {error}")
    torch.set_num_threads(options.threads)
    gates: Gates = load_gates(options.out) if options.out.exists() else {}
    if options.only != "ratios":
        print(f"counting operators, bytes and graphs of {len(REMOVALS)} forwards ...", flush=True)
        gates["proxies"] = {"torch": torch.__version__.split("+")[0]} | {f"r{r}": count(r) for r in REMOVALS}
    if options.only != "proxies":
        gates.setdefault("ratios", {})[describe_machine(device).key] = _measure(device)
    write_whole(options.out, to_toml(gates).encode())
    print(f"written: {options.out}")


def _measure(device: str) -> Gates:
    """Return the ratios of every case, by processor time where it is meaningful."""
    found: Gates = {"device": device, "rounds": ROUNDS}
    for case in CASES:
        found[str(case)] = {name: round(ratio.value, 4) for name, ratio in _quiet_ratios(case, device).items()}
    return found


def _quiet_ratios(case: Case, device: str) -> dict[str, Estimate]:
    for _ in range(ATTEMPTS):
        clocks = ratios(measure_times(arms_of(case, device), ROUNDS, device))
        clock = "cpu" if "cpu" in clocks else "wall"
        for name, ratio in clocks[clock].items():
            print(f"{case} {name} ({clock} time): {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]", flush=True)
        if all(ratio.high - ratio.low <= WIDEST * ratio.value for ratio in clocks[clock].values()):
            return clocks[clock]
        print(f"{case}: too noisy for a gate", flush=True)
    raise SystemExit("nothing was written; try again when the machine is less busy")


if __name__ == "__main__":
    main()

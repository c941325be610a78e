"""Time one revision's `fastast` on demand; run as a script with a checkout, it uses nothing else of this project.

It reads one line per request, `R BATCH ITERATIONS`, and answers with a line of JSON: the seconds of each iteration. The
first line that it writes says what it loaded.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(checkout: str, model_name: str, frames: int, threads: int, device: str) -> None:
    """Serve requests until the input ends."""
    sys.path[0] = checkout  # instead of this script's own folder
    import torch

    import fastast

    torch.set_num_threads(threads)
    loaded = Path(fastast.__file__).resolve().parent
    expected = Path(checkout).resolve() / "fastast"
    if loaded != expected:
        raise SystemExit(f"loaded fastast from {loaded}, not from the revision")
    torch.manual_seed(0)
    model = fastast.create_model(model_name, num_frames=frames).to(device).eval()
    say({"version": fastast.__version__, "torch": torch.__version__})
    fbanks: dict[int, Any] = {}
    for line in sys.stdin:
        r, batch, iterations = map(int, line.split())
        if batch not in fbanks:
            shape = (batch, frames, model.geometry.num_mel_bins)
            fbanks[batch] = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        handle = fastast.reduce(model, fastast.TokenReduction(schedule=fastast.Constant(r))) if r else None
        seconds = []
        with torch.inference_mode():
            for _ in range(iterations):
                start = time.perf_counter()
                model(fbanks[batch])
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
        if handle is not None:
            handle.remove()
        say({"seconds": seconds})


def say(answer: dict[str, Any]) -> None:
    """Write one line and flush it."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])

"""`python -m bench`: run sweeps, export their records, draw their reports, check their progress.

Exit codes: 0 done (a cell may be `noisy`), 1 some cell failed or is `implausible`, `compare` found something slower or
broken, or something stopped the command (a full or read-only disk, another run, a record that cannot be read), 2 the
sweep or the command line is wrong, 3 `compare` could judge nothing, 130 interrupted, 143 SIGTERM.
"""

from __future__ import annotations

import typer

from bench.ablation.command import ablation, thin_sweep
from bench.claims.command import claims, render_all
from bench.commands import compare, completion, export, gather, gpu, profile, report, run, status
from bench.page.command import explore
from bench.paper.command import paper
from bench.share.command import share_results
from bench.study.command import app as study
from bench.understanding.command import understand

app = typer.Typer(
    help="Measure speed and quality of reduced Audio Spectrogram Transformers.",
    epilog="Exit codes: 0 done, 1 a cell failed, compare found something slower or broken, or something stopped the "
    "command, 2 the sweep or the command line is wrong, 3 compare could judge nothing, 130 interrupted.",
    add_completion=False,  # the command `completion` prints a script that handles `python -m`
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

app.add_typer(study, name="study")
app.command()(claims)
app.command()(ablation)
app.command("thin")(thin_sweep)
app.command("render")(render_all)
app.command("page")(explore)
app.command("share")(share_results)
app.command()(paper)
app.command()(understand)
app.command()(run.run)
app.command()(status.status)
app.command()(export.export)
app.command()(gather.gather)
app.command("merge", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    gather.merge_is_gather_now
)
app.command()(report.report)
app.command()(profile.profile)
app.command()(gpu.gpu)
app.command()(compare.compare)
app.command("completion")(completion.show_completion)

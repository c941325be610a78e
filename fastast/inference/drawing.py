"""Draw the first window of a file, and the tokens that merge in it.

Shapes: `f` frames, `m` mel bins, `n` tokens.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch

from fastast.exporting import ExportedModel
from fastast.inference.file_names import utf8_name
from fastast.inference.prediction import Prediction
from fastast.inference.predictor import Predictor
from fastast.inference.windows import Windows
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace
from fastast.system.writing import write_whole
from fastast.teachers import Teacher


def drawn_model(predictor: Predictor) -> AudioSpectrogramTransformer:
    """Return the model whose tokens are drawn.

    Raises ValueError for an exported file, which does not tell which tokens merged, and for a CNN, which has none.
    """
    model = predictor.model
    if isinstance(model, ExportedModel):
        raise ValueError(f"{predictor.name}: an exported file does not tell which tokens merged; draw its checkpoint")
    if isinstance(model, Teacher):
        raise ValueError(f"{predictor.name}: {model.name} has no tokens to draw; leave --draw out")
    return model


@torch.inference_mode()
def draw(predictor: Predictor, prediction: Prediction, target: Path, channels: str = "average") -> Path:
    """Draw the first window and its tokens after some blocks, as PyTorch merges them, to a PNG; return its path.

    The title has the file's name, the reduction and the two best labels.

    Raises ValueError as `drawn_model` does, and for a target that does not end in `.png`.
    """
    if target.suffix.lower() != ".png":
        raise ValueError(f"{target}: pictures are written as PNG; name a file that ends in .png")
    from fastast.viz import draw_merges_by_block

    model = drawn_model(predictor)
    window = next(iter(Windows(prediction.path, predictor.window_samples, channels)))
    features = predictor.frontend([torch.from_numpy(window)])  # (1, f, m)
    trace = MergeTrace()
    model.forward_features(features, trace)
    reduction = predictor.handle.reduction if predictor.handle else "not merged"
    heard = ", ".join(f"{label} {score:.2f}" for label, score in prediction.top(2))
    title = f"{utf8_name(prediction.path.name)} ({reduction}): {heard}"
    sources = [source[0].numpy() for source in trace.source]  # (n,) of every block
    figure = draw_merges_by_block(features[0].numpy(), sources, model.geometry, title=title)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # in a name; a box is drawn instead
        figure.savefig(picture, dpi=200, format="png")
    write_whole(target, picture.getvalue())
    return target

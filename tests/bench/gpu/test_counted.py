"""Numbers that the pages on kernels take from shapes and machine code, against numbers counted by hand."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from bench.gpu.counted import COUNTED, counted_csv


@pytest.fixture(scope="module")
def numbers() -> pd.Series:
    return pd.read_csv(io.StringIO(counted_csv())).set_index("name")["value"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gelu_product", 48.0),  # 2 x 768 operations at 4,096 a clock, while 128 instructions issue a clock
        ("tokens_written", 0.119341),  # 64 x 1214 x 768 numbers of 2 bytes
        ("metric_read", 119.341),
        ("metric_written", 19.8902),  # 64 x 1214 x 64 numbers of 4 bytes
        ("similarities", 1.4738),  # 607 x 607 numbers of 4 bytes
        ("rank_comparisons", 23.5807),  # 64 x 607 x 607
        ("merge_norm_moved", 470.415),
        ("metric_programs", 152),  # 1214 tokens by 8
        ("rank_programs", 38),  # 607 pairs by 16
        ("filterbank_frames", 171.77),  # 64 x (160,000 + 998 x 512) numbers of 4 bytes
        ("filterbank_fft", 262.131),  # 64 x 998 x (512 + 2 x 257) numbers of 4 bytes
        ("filterbank_energies", 164.875),  # 64 x (998 x 514 + 1024 x 128) numbers of 4 bytes
        ("filterbank_fourier", 26.2642),  # 64 x 998 x 400 x 514 multiply-adds of 2 operations
    ],
)
def test_what_follows_from_shapes_is_as_by_hand(numbers: pd.Series, name: str, value: float) -> None:
    assert numbers[name] == pytest.approx(value, rel=1e-4)


def test_the_products_of_partners_are_those_of_the_blocks_that_merge(numbers: pd.Series) -> None:
    left = [1214 - 40 * block for block in range(11)]  # of the twelfth the head's tokens alone are computed
    by_hand = sum(64 * ((n + 1) // 2) * (n // 2) * 2 * 64 for n in left) / 1e9
    assert (numbers["partner_products"], numbers["partner_blocks"]) == (pytest.approx(by_hand, rel=1e-4), 11)


def test_the_file_beside_the_claims_is_of_now() -> None:
    assert COUNTED.read_text(encoding="utf-8") == counted_csv(), "run python -m bench.gpu.roofline"

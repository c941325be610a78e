"""What a sweep file may say: the file as a whole, and its parts."""

from bench.sweep.config.data import DataConfig
from bench.sweep.config.grid import GridConfig
from bench.sweep.config.measure import MeasureConfig
from bench.sweep.config.model import ModelConfig
from bench.sweep.config.sweep import SweepConfig

__all__ = ["DataConfig", "GridConfig", "MeasureConfig", "ModelConfig", "SweepConfig"]

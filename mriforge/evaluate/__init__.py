"""The job behind ``mriforge evaluate``: images, or label maps of organs, against a reference."""

from mriforge.evaluate.images import evaluate_files
from mriforge.evaluate.organs import evaluate_organs
from mriforge.evaluate.quality import evaluate_alone

__all__ = ["evaluate_alone", "evaluate_files", "evaluate_organs"]

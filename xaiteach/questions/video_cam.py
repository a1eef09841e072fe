"""Unit 03, a heat map for each frame of a clip: its definition, three heads, exact shares, and windows in time.

Source
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra (2017), section 3, for one picture; the rest is its chain rule.
"""

from __future__ import annotations

from xaiteach.questions.video_cam_frames import FRAME_CAM, LATE_GRADIENT, MEAN_GRADIENT, STACKED_GRADIENT
from xaiteach.questions.video_cam_pan import PER_FRAME, POOLED, PREDICT_FRAME, PREDICT_WEIGHTS, READING, SHARES
from xaiteach.questions.video_cam_time import ENTRY, WINDOW

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = (
    "attribution/cam.py",
    "attribution/cam_variants.py",
    "attribution/ablation.py",
)
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    FRAME_CAM,
    STACKED_GRADIENT,
    PREDICT_WEIGHTS,
    MEAN_GRADIENT,
    LATE_GRADIENT,
    POOLED,
    ENTRY,
    PREDICT_FRAME,
    SHARES,
    PER_FRAME,
    WINDOW,
    READING,
)

"""Teachers: networks of several kinds that all map a normalised filterbank (b, f, m) to logits (b, c).

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from fastast.teachers.create import create_teacher, teacher_names
from fastast.teachers.ensemble import combine_teachers
from fastast.teachers.files import load_teacher, save_teacher, teacher_identity
from fastast.teachers.protocol import Teacher, TeacherError

__all__ = [
    "Teacher",
    "TeacherError",
    "combine_teachers",
    "create_teacher",
    "load_teacher",
    "save_teacher",
    "teacher_identity",
    "teacher_names",
]

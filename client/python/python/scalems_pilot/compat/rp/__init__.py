"""Task descriptions as RADICAL-Pilot has them: read as envelopes, and run on a pilot.

The modes and the names of fields are RADICAL-Pilot's (``radical.pilot.TaskDescription``, version 1.6 and later). A field
that means nothing here, or that cannot be honoured, is refused by name if it is set to anything: a description is
never half followed.
"""

from .descriptions import UnsupportedDescription, envelope
from .tasks import Task, submit, wait

__all__ = ["Task", "UnsupportedDescription", "envelope", "submit", "wait"]

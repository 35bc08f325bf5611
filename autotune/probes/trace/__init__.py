"""Traces that torch.profiler exported: read into columns, linked from kernel to operator, cut into steps."""

from autotune.probes.trace.events import Trace
from autotune.probes.trace.links import Links, link
from autotune.probes.trace.reader import read_trace
from autotune.probes.trace.steps import TraceStep, steps_of

__all__ = ["Links", "Trace", "TraceStep", "link", "read_trace", "steps_of"]

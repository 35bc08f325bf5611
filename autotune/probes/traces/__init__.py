"""Traces that torch.profiler exported: read into columns, linked from kernel to operator, cut into steps."""

from autotune.probes.traces.events import Signature, Trace
from autotune.probes.traces.links import Links, link
from autotune.probes.traces.reader import read_trace
from autotune.probes.traces.steps import TraceStep, steps_of

__all__ = ["Links", "Signature", "Trace", "TraceStep", "link", "read_trace", "steps_of"]

"""From a trace to rows: whose each moment of the device's time is, layer by layer and phase by phase."""

from autotune.probes.attribution.operator_costs import Costs, TensorLists, costs_of
from autotune.probes.attribution.places import Place, Places, places_of
from autotune.probes.attribution.rows import layers_of, unmodelled_of
from autotune.probes.attribution.waits import Waits
from autotune.probes.attribution.work import Work, work_of

__all__ = [
    "Costs",
    "Place",
    "Places",
    "TensorLists",
    "Waits",
    "Work",
    "costs_of",
    "layers_of",
    "places_of",
    "unmodelled_of",
    "work_of",
]

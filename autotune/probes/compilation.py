"""What torch.compile has done in this process: its time, its graph breaks, its recompilations."""

from __future__ import annotations

from autotune.records import Compilation

__all__ = ["compilation"]

# Compilations that PyTorch remembers: by itself, the last 64.
_REMEMBERED = 100_000


def compilation() -> Compilation:
    """What has been compiled so far, forward and backward, from torch._dynamo's own counters.

    Where it is called before the first compilation, none is forgotten.
    """
    from torch._dynamo import config, utils

    utils.set_compilation_metrics_limit(_REMEMBERED)
    done = utils.get_compilation_metrics()
    # An id is `frame/attempt`: whatever is not a frame's first was compiled again, for another shape or value.
    attempts = [int(str(each.compile_id).rpartition("/")[2]) for each in done if each.is_forward]
    return Compilation(
        seconds=utils.calculate_time_spent()["total_wall_time"],
        graphs=len(done),
        graph_breaks=sum(utils.counters["graph_break"].values()),
        recompilations=sum(attempt > 0 for attempt in attempts),
        at_limit=max(attempts, default=0) + 1 >= config.recompile_limit,
    )

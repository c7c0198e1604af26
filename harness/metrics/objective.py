"""Names of figures, such as ``ttft_ms.p50``: what an optimiser may be told to make small."""

from __future__ import annotations

from harness.errors import ConfigError
from harness.metrics.registry import by_name

_STATISTICS = ("p50", "mean", "p90", "p95", "p99", "max")
_OF_THE_MACHINE = ("memory_mib", "memory_slope_mib_per_min", "gpu_memory_mib", "others_cpu")


def require_objective(name: str) -> None:
    """Raises :class:`ConfigError` unless ``name`` is ``METRIC.STATISTIC``, or a ratio's name."""
    metric, dot, statistic = name.partition(".")
    metrics = by_name()
    known = metrics.get(metric)
    if known is None and metric not in _OF_THE_MACHINE:
        allowed = ", ".join([*metrics, *_OF_THE_MACHINE])
        raise ConfigError("config field objective: no such metric", value=name, allowed=allowed)
    of_samples = known is not None and known.scope != "corpus"
    statistics = _STATISTICS if of_samples else ("value",)
    if (statistic if dot else "value") not in statistics:
        raise ConfigError(
            "config field objective: no such statistic of this metric", value=name,
            allowed=", ".join(f"{metric}.{one}" for one in statistics),
        )  # fmt: skip

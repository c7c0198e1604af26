"""Latency benchmarking and regression testing for streaming speech-to-text.

From Python (each name is loaded when it is first used)::

    import harness

    run = harness.run(harness.Config(chunking=harness.Words(1)))
    run.summary["ttft_ms"].p50
    run.judge("ttft_ms p95 <= 900 ms").status
    old, new = harness.compare(config_a, config_b)

A word's way: recorded clip -> frames, due when they were spoken -> stream of an engine -> tokens ->
chunking strategy -> chunks -> client. Every step is stamped into a trace (``events``); metrics are
pure functions of traces (``metrics``); verdicts and reports are made from metrics.

The rooms, from the ground up; lower never imports higher (``tests/test_architecture.py``):

==  ================================================================================================
0   ``errors``, ``text`` (foreign text made safe), ``validation`` (of options), ``install_hint``,
    ``containers`` (audio files to their true end), ``keys`` (secrets that must not be kept),
    ``languages`` (tags, words, scripts), ``addresses`` (this machine's names), ``display`` (text
    that may be taken back)
1   ``events``, ``clock``, ``ticks`` (the watchdog), ``audio``, ``stats`` (numbers in, numbers out),
    ``registry`` (variants)
2   ``chunking`` (strategies), ``conditions`` (of sound and network), ``endpointers`` (ends of
    turns), ``metrics`` (definitions), ``engines`` (the measured things)
3   ``datasets`` (recorded clips)
4   ``config`` (the root of all options), ``machine`` (what a figure was measured on)
5   ``replay`` (the measuring loop), ``session`` and ``microphone`` (one session), ``recorder`` (its
    stamps), ``runs`` (a run on disk)
6   ``verdicts`` (gates), ``report`` (pages and plots), ``export`` (other tools' formats), ``serve``
7   ``experiments`` (run, compare, capacity, calibrate: functions, without Hydra)
8   ``api`` (this page's functions), ``cli`` (the verbs; the only room that imports Hydra)
9   ``__main__``, ``pytest_plugin``
==  ================================================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# name -> module; the public API
_PUBLIC = {
    "run": "harness.api",
    "compare": "harness.api",
    "load_run": "harness.api",
    "Run": "harness.api",
    "Progress": "harness.experiments.progress",
    "Config": "harness.config",
    "ReplayConfig": "harness.config",
    "GateConfig": "harness.config",
    "ReportConfig": "harness.config",
    "InjectConfig": "harness.engines.inject",
    "Strategy": "harness.chunking",
    "Chunker": "harness.chunking",
    "WordHolder": "harness.chunking.strategy",
    "Words": "harness.chunking",
    "EagerFirst": "harness.chunking",
    "Tokens": "harness.chunking",
    "Sentences": "harness.chunking",
    "Timed": "harness.chunking",
    "Interim": "harness.chunking",
    "EndpointerOptions": "harness.endpointers",
    "Endpointer": "harness.endpointers",
    "NoEndpointer": "harness.endpointers",
    "EngineEndpointer": "harness.endpointers",
    "SilenceEndpointer": "harness.endpointers.silence",
    "SileroEndpointer": "harness.endpointers.silero",
    "Condition": "harness.conditions",
    "Network": "harness.conditions.network",
    "Clean": "harness.conditions",
    "Telephone": "harness.conditions.telephone",
    "AddedNoise": "harness.conditions.noise",
    "Jitter": "harness.conditions.jitter",
    "Loss": "harness.conditions.loss",
    "NoModel": "harness.engines.setting",
    "WhisperModel": "harness.engines.whisper",
    "VoxtralModel": "harness.engines.voxtral",
    "VoxtralRealtimeModel": "harness.engines.voxtral",
    "Engine": "harness.engines",
    "EngineInfo": "harness.engines",
    "Listener": "harness.engines",
    "Reference": "harness.engines",
    "Samples": "harness.engines",
    "Stream": "harness.engines",
    "SessionKind": "harness.events",
    "World": "harness.clock",
    "Setting": "harness.engines.setting",
    "NullOptions": "harness.engines.null",
    "ScriptedOptions": "harness.engines.scripted",
    "TorchOptions": "harness.engines.torch.options",
    "RealtimeOptions": "harness.engines.remote.options",
    "PythonOptions": "harness.engines.python",
    "Adapter": "harness.engines.remote.adapter",
    "EventKind": "harness.engines.remote.adapter",
    "ServerEvent": "harness.engines.remote.adapter",
    "ManifestDataset": "harness.datasets",
    "HubDataset": "harness.datasets",
    "TurnSession": "harness.engines.sessions",
    "LiveSession": "harness.engines.sessions",
    "AlignAttSession": "harness.engines.sessions",
    "HarnessError": "harness.errors",
    "ConfigError": "harness.errors",
    "UsageError": "harness.errors",
    "Trace": "harness.events",
    "Missing": "harness.metrics.instants",
    "objective": "harness.runs.objective",
    "metric_function": "harness.metrics.metric",
}

if TYPE_CHECKING:  # what type checkers and editors see
    from harness import metrics as metrics
    from harness.api import Run as Run
    from harness.api import compare as compare
    from harness.api import load_run as load_run
    from harness.api import run as run
    from harness.chunking import Chunker as Chunker
    from harness.chunking import EagerFirst as EagerFirst
    from harness.chunking import Interim as Interim
    from harness.chunking import Sentences as Sentences
    from harness.chunking import Strategy as Strategy
    from harness.chunking import Timed as Timed
    from harness.chunking import Tokens as Tokens
    from harness.chunking import Words as Words
    from harness.chunking.strategy import WordHolder as WordHolder
    from harness.clock import World as World
    from harness.conditions import Clean as Clean
    from harness.conditions import Condition as Condition
    from harness.conditions.jitter import Jitter as Jitter
    from harness.conditions.loss import Loss as Loss
    from harness.conditions.network import Network as Network
    from harness.conditions.noise import AddedNoise as AddedNoise
    from harness.conditions.telephone import Telephone as Telephone
    from harness.config import Config as Config
    from harness.config import GateConfig as GateConfig
    from harness.config import ReplayConfig as ReplayConfig
    from harness.config import ReportConfig as ReportConfig
    from harness.datasets import HubDataset as HubDataset
    from harness.datasets import ManifestDataset as ManifestDataset
    from harness.endpointers import Endpointer as Endpointer
    from harness.endpointers import EndpointerOptions as EndpointerOptions
    from harness.endpointers import EngineEndpointer as EngineEndpointer
    from harness.endpointers import NoEndpointer as NoEndpointer
    from harness.endpointers.silence import SilenceEndpointer as SilenceEndpointer
    from harness.endpointers.silero import SileroEndpointer as SileroEndpointer
    from harness.engines import Engine as Engine
    from harness.engines import EngineInfo as EngineInfo
    from harness.engines import Listener as Listener
    from harness.engines import Reference as Reference
    from harness.engines import Samples as Samples
    from harness.engines import Stream as Stream
    from harness.engines.inject import InjectConfig as InjectConfig
    from harness.engines.null import NullOptions as NullOptions
    from harness.engines.python import PythonOptions as PythonOptions
    from harness.engines.remote.adapter import Adapter as Adapter
    from harness.engines.remote.adapter import EventKind as EventKind
    from harness.engines.remote.adapter import ServerEvent as ServerEvent
    from harness.engines.remote.options import RealtimeOptions as RealtimeOptions
    from harness.engines.scripted import ScriptedOptions as ScriptedOptions
    from harness.engines.sessions import AlignAttSession as AlignAttSession
    from harness.engines.sessions import LiveSession as LiveSession
    from harness.engines.sessions import TurnSession as TurnSession
    from harness.engines.setting import NoModel as NoModel
    from harness.engines.setting import Setting as Setting
    from harness.engines.torch.options import TorchOptions as TorchOptions
    from harness.engines.voxtral import VoxtralModel as VoxtralModel
    from harness.engines.voxtral import VoxtralRealtimeModel as VoxtralRealtimeModel
    from harness.engines.whisper import WhisperModel as WhisperModel
    from harness.errors import ConfigError as ConfigError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import UsageError as UsageError
    from harness.events import SessionKind as SessionKind
    from harness.events import Trace as Trace
    from harness.experiments.progress import Progress as Progress
    from harness.metrics.instants import Missing as Missing
    from harness.metrics.metric import metric_function as metric_function
    from harness.runs.objective import objective as objective


def engine(name: str) -> Any:
    """Decorator: registers options of an engine, a dataclass with ``load``, for this process."""
    return import_module("harness.engines.registry").ENGINES.add(name)


def chunking_strategy(name: str) -> Any:
    """Decorator: registers a chunking strategy, a dataclass with ``chunker``, for this process."""
    return import_module("harness.chunking").STRATEGIES.add(name)


def condition(name: str) -> Any:
    """Decorator: registers a condition, a dataclass with ``heard`` or ``network``, likewise."""
    return import_module("harness.conditions").CONDITIONS.add(name)


def metric(*, unit: str, label: str, **facts: Any) -> Any:
    """Decorator: a metric of one's own, for this process; ``metric_function`` registers nothing."""
    described = import_module("harness.metrics.metric").metric_function(
        unit=unit, label=label, **facts
    )
    functions = import_module("harness.metrics.registry").FUNCTIONS

    def registered(function: Any) -> Any:
        function = described(function)
        return functions.add(function.metric.name)(function)

    return registered


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])

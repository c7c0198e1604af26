"""The arms of each mode, in the order of their worth: whatever comes late may not be reached.

Tests of captured steps come before what they vouch for, and transformers' ``generate()``, which
takes longest, comes last. Time-outs were chosen for an H200; ``--stretch`` multiplies them.
Importing this file imports all that any arm needs, and touches no CUDA.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import transformers

from tests.gpu.session.arms import command_arm, micro, probe, pytest_arm
from tests.gpu.session.engines import Way, live, turn
from tests.gpu.session.generate import generate
from tests.gpu.session.packing import pack
from tests.gpu.session.parent import Arm
from tests.gpu.session.results import Options, Record

# Imported when they are first asked for: once here, not once in every arm.
MODEL_CLASSES = (
    transformers.VoxtralForConditionalGeneration,
    transformers.VoxtralRealtimeForConditionalGeneration,
)

_FILE = "test_voxtral_gpu.py::"
TESTS_A = (
    f"{_FILE}test_step_options_on_cuda_default_to_graphs",
    f"{_FILE}test_turn_tokens_are_those_of_generate[graphs]",
    f"{_FILE}test_realtime_tokens_and_logits_are_those_of_generate[graphs]",
    f"{_FILE}test_turns_in_bfloat16_are_as_near_as_on_a_cpu[graphs]",
    f"{_FILE}test_realtime_in_bfloat16_is_as_near_as_on_a_cpu[graphs-1]",
    f"{_FILE}test_full_size_realtime_takes_steps",
)
TESTS_B = (
    f"{_FILE}test_concurrent_sessions_give_what_each_gives_alone[graphs]",
    f"{_FILE}test_spans_are_adjacent_and_the_token_ends_the_last",
    f"{_FILE}test_a_long_session_takes_no_more_memory",
    f"{_FILE}test_the_sampler_sees_this_gpu",
    f"{_FILE}test_a_window_goes_on_from_its_prefix_as_generate_does[graphs]",
    f"{_FILE}test_realtime_in_bfloat16_is_as_near_as_on_a_cpu[graphs-4]",
)
TESTS_C = (
    f"{_FILE}test_turns_in_bfloat16_are_as_near_as_on_a_cpu[compiled]",
    f"{_FILE}test_realtime_in_bfloat16_is_as_near_as_on_a_cpu[compiled-1]",
)

_EAGER = Way(cuda_graphs=False)
_GRAPHS = Way(cuda_graphs=True)
_COMPILED = Way(compile=True)
_NO_CUDNN = {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1"}
_COMPARE = (
    "compare", "chunking=1word,6word", "model=voxtral_mini_3b", "replay.repeats=1",
    "dataset.limit=6",
)  # fmt: skip


def _dependent_launch(work: Callable[[Record], None]) -> Callable[[Record], None]:
    """``work`` with kernels of inductor that are launched before the kernel before them ends."""

    def run(record: Record) -> None:
        from torch._inductor import config as inductor  # slow to import

        inductor.triton.enable_pdl = True
        work(record)

    return run


def _many_streams(*capacity: int) -> Callable[[Record], None]:
    return live(_GRAPHS, streams=32, paced=False, capacity=capacity, traced=False)


_PROBE = Arm("probe", probe, 45, 5)
_A = Arm("tests.a", pytest_arm(*TESTS_A), 110, 20)
_B = Arm("tests.b", pytest_arm(*TESTS_B), 90, 20)
_C = Arm("tests.c", pytest_arm(*TESTS_C), 100, 50)
_TURN = Arm("3b.graphs", turn(_GRAPHS), 60, 15)
_LIVE = Arm("rt.graphs", live(_GRAPHS), 90, 20)
_MICRO = Arm("micro", micro, 40, 10)
_LIVE_32 = Arm("rt.graphs32", _many_streams(16, 32), 110, 45)
_TURN_COMPILED = Arm("3b.compiled", turn(_COMPILED), 210, 100)
_LIVE_COMPILED = Arm("rt.compiled", live(_COMPILED), 240, 60)
_CLI = Arm("cli.compare", command_arm(*_COMPARE), 90, 35)
_TURN_PDL = Arm("3b.pdl", _dependent_launch(turn(_COMPILED, traced=False)), 120, 50)
_EXTRAS = (
    Arm("3b.generate", generate("voxtral"), 40, 15),
    Arm("rt.nocudnn", live(_GRAPHS, paced=False, traced=False), 40, 18, _NO_CUDNN),
    Arm("3b.nocudnn", turn(_GRAPHS, traced=False), 30, 12, _NO_CUDNN),
    Arm("3b.eager", turn(_EAGER, traced=False), 60, 25),
    Arm("rt.generate", generate("voxtral_realtime"), 60, 25),
    Arm("rt.eager", live(_EAGER, traced=False), 90, 40),
)

MODES: dict[str, tuple[Arm, ...]] = {
    # Begins `3b.compiled` only with time left; else `second` begins with it.
    "first": (_PROBE, _A, _TURN, _LIVE, _MICRO, _LIVE_32, _B, _TURN_COMPILED, *_EXTRAS),
    "second": (
        _PROBE, _TURN_COMPILED, _LIVE_COMPILED, _CLI, _LIVE_32, _TURN_PDL, *_EXTRAS, _B, _C,
    ),
    "all": (
        _PROBE, _A, _B, _TURN, _LIVE, _MICRO,
        Arm("rt.graphs32", _many_streams(1, 8, 16, 32), 150, 0),
        _C, _TURN_COMPILED, _LIVE_COMPILED, _TURN_PDL, _CLI, *_EXTRAS,
        Arm("tests.rest", pytest_arm(but=(*TESTS_A, *TESTS_B, *TESTS_C)), 600, 0),
    ),
}  # fmt: skip


def finish(options: Options) -> None:
    """Pack what inductor has compiled: carried to a later session, it makes loading shorter."""
    if any("compiled" in arm.name for arm in MODES[options.mode]) and not options.tiny:
        pack(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]), options.out / "inductor.tgz")

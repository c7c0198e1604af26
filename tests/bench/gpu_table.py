"""The GPU table: each Voxtral engine beside eager ``generate()``, on random weights, no network.

    python tests/bench/gpu_table.py                            # full size on CUDA, bfloat16
    python tests/bench/gpu_table.py --size tiny --device cpu   # the script itself, anywhere

Every time is a host stamp taken when a token's id is on the host. Arms share one set of weights.
What is a floor and what is a goal is said in docs/measurements.md; here are only measurements.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    VoxtralProcessor,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeProcessor,
    WhisperFeatureExtractor,
)
from transformers.generation.streamers import BaseStreamer
from transformers.tokenization_mistral_common import MistralCommonBackend

from harness.chunking import Words, rechunk
from harness.clock import RealWorld, frozen_gc
from harness.engines import Engine, Reference, Samples
from harness.engines.torch.cuda_graphs import step_options
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.worker import torch_device
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral.engine import VoxtralEngine
from harness.engines.voxtral.realtime import VoxtralRealtimeEngine
from harness.engines.voxtral.realtime_model import first_output_step, samples_needed
from harness.engines.voxtral.tokenizer import write_tokenizer
from harness.engines.voxtral.weights import Loaded, load_voxtral_weights
from harness.events import Token, Word
from harness.machine.gpu import GpuSampler, Telemetry

RATE_HZ = 16_000
DELAY_TOKENS = 6  # 480 ms
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
    "age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness"
)


@dataclass
class Row:
    """One line of the table; times in ms, None where the arm has no such figure."""

    model: str
    arm: str
    first_ms: list[float]  # turn: end of audio -> first token; live: audio of a step -> its token
    step_ms: list[float]  # between tokens of one session, back to back
    step_bytes: int  # weights that one token or step reads
    peak_gb: float | None
    words_ms: dict[int, list[float]]  # words a chunk -> time to the first chunk
    host_ms: list[float]  # generate(): transformers' processor on the CPU, a part of `first`
    streams: str = ""


class Session:
    """A listener that keeps host stamps."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.ended_ns = 0
        self.error: str | None = None
        self.over = threading.Event()

    def ready(self) -> None:
        pass

    def token(self, text: str, at_ns: int | None = None) -> None:
        self.tokens.append(Token(text=text, at_ns=time.perf_counter_ns()))

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        pass

    def ended(self) -> None:
        self.ended_ns = time.perf_counter_ns()
        self.over.set()

    def failed(self, error: str) -> None:
        self.error = error
        self.over.set()

    def wait(self) -> None:
        self.over.wait()
        if self.error is not None:
            raise SystemExit(self.error)


class Tap(BaseStreamer):
    """Stamps of ``generate()``'s tokens; the prompt comes first and is not one."""

    def __init__(self) -> None:
        self.stamps_ns: list[int] = []
        self.prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self.prompt_seen:
            int(value.reshape(-1)[0])  # on the host, as ours
            self.stamps_ns.append(time.perf_counter_ns())
        self.prompt_seen = True

    def end(self) -> None:
        pass


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="full", choices=["full", "tiny"])
    parser.add_argument("--dtype", default=None, help="bfloat16 on CUDA, else float32")
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; torch's own choice")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--repeats", type=int, default=5, help="sessions an arm, one warms up")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 16, 32])
    parser.add_argument("--models", nargs="*", default=["voxtral", "realtime"])
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled arm out")
    options = parser.parse_args(arguments)
    dtype = options.dtype or ("bfloat16" if options.device.startswith("cuda") else "float32")
    engine = TorchOptions(device=options.device, dtype=dtype, threads=options.threads)
    bench = Bench(engine, options)
    sampler = GpuSampler(RealWorld(), options.device)
    sampler.start()
    try:
        with frozen_gc():
            if "voxtral" in options.models:
                bench.voxtral()
            if "realtime" in options.models:
                bench.realtime()
    finally:  # what was measured is shown, whatever came after it
        bench.print_table(sampler.stop())
    if bench.failed:
        raise SystemExit(f"failed, see above: {', '.join(bench.failed)}")
    return bench.rows


class Bench:
    def __init__(self, engine: TorchOptions, options: argparse.Namespace) -> None:
        self.engine = engine
        self.options = options
        self.device, self.dtype = torch_device(engine)
        self.cuda = self.device.type == "cuda"
        generator = np.random.default_rng(0)
        count = round(options.seconds * RATE_HZ)
        quiet = np.round(generator.normal(size=count) * 3000).clip(-32767, 32767)
        self.audio: Samples = (quiet / 32768).astype(np.float32)
        words = TEXT.split()
        each_s = (options.seconds - 0.5) / len(words)
        self.reference = Reference(
            text=TEXT,
            words=tuple(
                Word(text=w, start_s=i * each_s, end_s=(i + 1) * each_s)
                for i, w in enumerate(words)
            ),
        )
        self.bandwidth = _bandwidth(self.device)
        self.rows: list[Row] = []
        self.failed: list[str] = []

    def arms(self) -> Iterator[tuple[str, TorchOptions]]:
        """Our loop in each way that this device can run it."""
        ways: list[tuple[str, dict[str, Any]]] = [("our loop, eager", {"cuda_graphs": None})]
        if self.cuda:
            ways = [
                ("our loop, eager", {"cuda_graphs": False}),
                ("our loop, graphs", {"cuda_graphs": True}),
            ]
        if not self.options.no_compile:
            ways.append(("our loop, compiled", {"compile": True}))
        for name, how in ways:
            yield name, TorchOptions(self.engine.device, self.engine.dtype, **how)

    @contextmanager
    def row(self, model: str, arm: str, step_bytes: int) -> Iterator[Row]:
        """One more line of the table; if it fails, the others are measured all the same."""
        print(f"{model}, {arm} ...", flush=True)
        self._tidy()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        row = Row(model, arm, [], [], step_bytes, None, {1: [], 6: []}, [])
        self.rows.append(row)
        try:
            yield row
        except (Exception, SystemExit):  # noqa: BLE001 whatever it is
            traceback.print_exc()
            self.failed.append(f"{model}, {arm}")
            row.streams = "failed"
        if self.cuda:
            row.peak_gb = torch.cuda.max_memory_allocated(self.device) / 1e9

    # --- the 3B ---------------------------------------------------------------------------------

    def voxtral(self) -> None:
        model = VoxtralModel(weights="random", size=self.options.size, decode="forced")
        loaded = self._load("voxtral", model)
        decoder = loaded.model.model.language_model
        step_bytes = _bytes(decoder.layers) + _bytes(loaded.model.lm_head)
        new_tokens = len(loaded.encode(TEXT)) + 1
        with (
            self.row("3B", "generate(), eager", step_bytes) as row,
            tempfile.TemporaryDirectory() as folder,
        ):
            processor = _processor(Path(folder), "voxtral", loaded)
            for repeat in range(self.options.repeats):
                first_ms, host_ms, step_ms = self._generate_turn(loaded, processor, new_tokens)
                if repeat:
                    row.first_ms.append(first_ms)
                    row.host_ms.append(host_ms)
                    row.step_ms += step_ms
        for name, how in self.arms():
            with self.row("3B", name, step_bytes) as row:
                self._measure_turns(row, model, loaded, how)

    # An arm is a method of its own: one that fails leaves no engine behind for the next.
    def _measure_turns(
        self, row: Row, model: VoxtralModel, loaded: Loaded, how: TorchOptions
    ) -> None:
        engine = VoxtralEngine(
            model, loaded, self.device, self.dtype,
            step_options(how, self.device, live=False), RealWorld(),
        )  # fmt: skip
        with closing(engine):
            for repeat in range(self.options.repeats):
                session, finished_ns = self._turn(engine)
                if repeat:
                    self._note(row, session, finished_ns)

    def _generate_turn(
        self, loaded: Loaded, processor: Any, new_tokens: int
    ) -> tuple[float, float, list[float]]:
        """To the first token, of that in the processor, and between tokens."""
        tap = Tap()
        began_ns = time.perf_counter_ns()
        inputs = processor.apply_transcription_request(
            audio=[self.audio], model_id="v", language="en", sampling_rate=RATE_HZ, format=["wav"]
        )
        host_ms = (time.perf_counter_ns() - began_ns) / 1e6
        inputs = inputs.to(self.device, dtype=self.dtype)
        with torch.inference_mode():
            loaded.model.generate(
                **inputs,
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                streamer=tap,
            )
        return (tap.stamps_ns[0] - began_ns) / 1e6, host_ms, _gaps_ms(tap.stamps_ns)

    def _turn(self, engine: Engine) -> tuple[Session, int]:
        session = Session()
        stream = engine.open(session, self.reference)
        stream.feed(self.audio)
        finished_ns = time.perf_counter_ns()
        stream.finish()
        session.wait()
        return session, finished_ns

    # --- Realtime -------------------------------------------------------------------------------

    def realtime(self) -> None:
        streams = max(self.options.streams)
        model = VoxtralRealtimeModel(
            weights="random", size=self.options.size, decode="forced", max_streams=streams
        )
        loaded = self._load("voxtral_realtime", model)
        core = loaded.model.model
        read = (core.audio_tower.layers, core.multi_modal_projector, core.language_model.layers)
        step_bytes = sum(map(_bytes, read)) + _bytes(loaded.model.lm_head)
        with (
            self.row("Realtime", "generate(), eager", step_bytes) as row,
            tempfile.TemporaryDirectory() as folder,
        ):
            processor = _processor(Path(folder), "voxtral_realtime", loaded)
            for repeat in range(self.options.repeats):
                for pace in (0.0, 1.0):
                    given_ns, taken_ns, host_ms = self._generate_live(loaded, processor, pace)
                    if repeat and pace:
                        row.host_ms += host_ms
                        pairs = zip(given_ns, taken_ns, strict=False)
                        row.first_ms += [(b - a) / 1e6 for a, b in pairs]
                    elif repeat:
                        row.step_ms += _gaps_ms(taken_ns)
        for name, how in self.arms():
            with self.row("Realtime", name, step_bytes) as row:
                self._measure_live(row, model, loaded, how)

    def _measure_live(
        self, row: Row, model: VoxtralRealtimeModel, loaded: Loaded, how: TorchOptions
    ) -> None:
        engine = VoxtralRealtimeEngine(
            model, loaded, self.device, self.dtype,
            step_options(how, self.device, live=True), RealWorld(),
        )  # fmt: skip
        with closing(engine):
            for repeat in range(self.options.repeats):
                (flooded, *_), _ = self._live(engine, 1, pace=0.0)
                (paced, *_), t0_ns = self._live(engine, 1, pace=1.0)
                if not repeat:
                    continue
                row.step_ms += _gaps_ms([t.at_ns for t in flooded.tokens])
                row.first_ms += self._lateness_ms(paced, t0_ns)
                self._note_words(row, paced, t0_ns)
            row.streams = self._capacity(engine)

    def _generate_live(
        self, loaded: Loaded, processor: Any, pace: float
    ) -> tuple[list[int], list[int], list[float]]:
        """Instants at which each chunk's audio was there, and at which its token was told.

        And the milliseconds that the processor took for each chunk but the first.
        """
        first = processor.num_samples_first_audio_chunk
        inputs = processor(
            self.audio[:first], is_streaming=True, is_first_audio_chunk=True,
            sampling_rate=RATE_HZ, return_tensors="pt",
        )  # fmt: skip
        tap = Tap()
        world = RealWorld()
        given_ns: list[int] = []
        host_ms: list[float] = []
        t0_ns = time.perf_counter_ns()

        def chunks() -> Iterator[torch.Tensor]:
            per_token = processor.audio_length_per_tok
            mel, size = processor.num_mel_frames_first_audio_chunk, first
            begin, features = 0, inputs.input_features
            while begin + size <= len(self.audio):
                there_ns = t0_ns + (begin + size) * 62_500
                if pace:
                    world.sleep_until_ns(there_ns)
                if begin:
                    piece = self.audio[begin : begin + size]
                    began_ns = time.perf_counter_ns()
                    features = processor(
                        piece, is_streaming=True, is_first_audio_chunk=False,
                        sampling_rate=RATE_HZ, return_tensors="pt",
                    ).input_features  # fmt: skip
                    host_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
                given_ns.append(there_ns if pace else time.perf_counter_ns())
                yield features.to(self.device, dtype=self.dtype)
                begin = mel * 160 - 200
                mel, size = mel + per_token, processor.num_samples_per_audio_chunk

        with torch.inference_mode():
            loaded.model.generate(
                input_ids=inputs.input_ids.to(self.device),
                input_features=chunks(),
                num_delay_tokens=inputs.num_delay_tokens,
                do_sample=False,
                eos_token_id=None,
                streamer=tap,
            )
        return given_ns, tap.stamps_ns, host_ms

    def _live(self, engine: Engine, streams: int, pace: float) -> tuple[list[Session], int]:
        """Concurrent sessions on the clip, in frames of 20 ms; they begin spread over a step."""
        sessions = [Session() for _ in range(streams)]
        opened = [engine.open(session, self.reference) for session in sessions]
        if not pace:
            for stream in opened:
                stream.feed(self.audio)
                stream.finish()
        else:
            world = RealWorld()
            driver = world.timeline("driver")
            t0_ns = world.now_ns() + 50_000_000
            frame = RATE_HZ // 50
            for index, stream in enumerate(opened):
                begin_ns = t0_ns + index * 80_000_000 // streams
                for start in range(0, len(self.audio), frame):
                    piece = self.audio[start : start + frame]
                    due_ns = begin_ns + (start + len(piece)) * 62_500
                    driver.call_at(due_ns, lambda s=stream, p=piece: s.feed(p))
                driver.call_at(begin_ns + len(self.audio) * 62_500, stream.finish)
            driver.start()
        for session in sessions:
            session.wait()
        if pace:
            driver.stop()
            return sessions, t0_ns
        return sessions, 0

    def _lateness_ms(self, session: Session, t0_ns: int) -> list[float]:
        """From the instant at which a step's last frame was spoken to its token on the host."""
        late = []
        for index, token in enumerate(session.tokens):
            needed = samples_needed(first_output_step(DELAY_TOKENS) + index)
            frame_end = -(-needed // 320) * 320  # frames of 20 ms
            if frame_end <= len(self.audio):
                late.append((token.at_ns - t0_ns - frame_end * 62_500) / 1e6)
        return late

    def _capacity(self, engine: Engine) -> str:
        """The largest tried number of sessions whose p99 from audio to token is under a step."""
        best = ""
        for streams in sorted(self.options.streams):
            sessions, t0_ns = self._live(engine, streams, pace=1.0)
            late = [
                value
                for index, session in enumerate(sessions)
                for value in self._lateness_ms(session, t0_ns + index * 80_000_000 // streams)
            ]
            p99 = float(np.percentile(late, 99))
            if p99 >= 80:
                return best + f" ({streams} fail: p99 {p99:.0f} ms)"
            best = f"{streams} at p99 {p99:.1f} ms"
        return best

    # --- shared ---------------------------------------------------------------------------------

    def _load(self, kind: Any, model: Any) -> Loaded:
        self._tidy()
        return load_voxtral_weights(
            kind, model, self.device, self.dtype, cache_bytes=lambda config: 0
        )

    def _note(self, row: Row, session: Session, finished_ns: int) -> None:
        row.first_ms.append((session.tokens[0].at_ns - finished_ns) / 1e6)
        row.step_ms += _gaps_ms([token.at_ns for token in session.tokens])
        self._note_words(row, session, finished_ns)

    def _note_words(self, row: Row, session: Session, request_ns: int) -> None:
        for words, times in row.words_ms.items():
            chunks = rechunk(session.tokens, session.ended_ns, Words(words))
            first = next(chunk for chunk in chunks if chunk.text.strip())
            times.append((first.at_ns - request_ns) / 1e6)

    def _tidy(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def print_table(self, telemetry: object) -> None:
        options = self.options
        name = torch.cuda.get_device_name(self.device) if self.cuda else "CPU"
        print(
            f"\n{name}, {self.engine.dtype}, random {options.size} weights, torch "
            f"{torch.__version__}; clip {options.seconds:g} s, {options.repeats - 1} sessions an "
            f"arm; memory bandwidth {self.bandwidth / 1e9:.0f} GB/s (measured: the faster of large "
            "copies and large sums)"
        )
        if isinstance(telemetry, Telemetry):
            print(f"throttled: {telemetry.throttled or 'never'}")
        else:
            print(f"telemetry: {telemetry}")
        print(
            "first: 3B end of audio -> first token; Realtime audio of a step there -> its token. "
            "1-word, 6-word: to the first chunk, 3B from the end of audio, Realtime from t0. "
            "processor: generate()'s, on the CPU, a part of its `first` (Realtime: of its steps). "
            f"peak: ours of Realtime has caches for {max(options.streams)} sessions, generate() for"
            " one."
        )
        table = Table(box=None, pad_edge=False)
        for column in (
            "model", "arm", "first p50", "step p50", "p95", "p99 ms", "n", "share", "1-word",
            "6-word ms", "processor", "peak GB", "live streams",
        ):  # fmt: skip
            table.add_column(column, justify="left" if column in ("model", "arm") else "right")
        for row in self.rows:
            p50 = _percentile(row.step_ms, 50)
            table.add_row(
                row.model,
                row.arm,
                _figure(row.first_ms, 50),
                _figure(row.step_ms, 50),
                _figure(row.step_ms, 95),
                _figure(row.step_ms, 99),
                str(len(row.step_ms)),
                f"{row.step_bytes / (p50 / 1e3) / self.bandwidth:.0%}" if p50 else "-",
                _figure(row.words_ms[1], 50),
                _figure(row.words_ms[6], 50),
                _figure(row.host_ms, 50),
                "-" if row.peak_gb is None else f"{row.peak_gb:.1f}",
                row.streams or "-",
            )
        Console(width=160).print(table)


def _bandwidth(device: torch.device) -> float:
    """Bytes a second: the faster of copies (read and write counted) and sums, each a median."""
    size = 1 << (28 if device.type == "cuda" else 24)
    source = torch.ones(size, device=device)  # float32
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / _median_s(device, lambda: target.copy_(source))
    return max(copied, source.nbytes / _median_s(device, source.sum))


def _median_s(device: torch.device, work: Callable[[], object]) -> float:
    """Of ten times, after one to warm up."""
    times = []
    for _ in range(11):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _processor(folder: Path, kind: Any, loaded: Loaded) -> Any:
    path = folder / "tekken.json"
    write_tokenizer(path, kind, len(loaded.token_bytes))
    tokenizer = MistralCommonBackend(path)
    if kind == "voxtral":
        return VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)
    return VoxtralRealtimeProcessor(VoxtralRealtimeFeatureExtractor(), tokenizer)


def _bytes(module: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _gaps_ms(stamps_ns: list[int]) -> list[float]:
    return [(b - a) / 1e6 for a, b in pairwise(stamps_ns)]


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _figure(values: list[float], percent: float) -> str:
    value = _percentile(values, percent)
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()

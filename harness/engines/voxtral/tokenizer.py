"""Voxtral's tokenizer: read from its file and checked, or made of the one mistral-common ships.

The made one has the same merges as the real one, with the special tokens and the audio section that
Voxtral's has, so that random weights need no network.
"""

from __future__ import annotations

import base64
import functools
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from mistral_common.exceptions import MistralCommonException
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from harness.engines.torch.log_mel import HOP_SAMPLES, MEL_BANDS, WINDOW_SAMPLES
from harness.engines.whisper.weights import BROKEN_FILES
from harness.errors import WeightsError

Kind = Literal["voxtral", "voxtral_realtime"]  # transformers' `model_type`

SPECIAL_TOKENS = 1000  # ids below are special; the others are 1000 + the rank of their bytes
BEGIN, END = 1, 2  # <s>, </s>
AUDIO = 24  # stands for one audio embedding of the 3B's prompt
STREAMING_PAD = 32  # "no text in this step"
STREAMING_WORD = 33  # "a word begins"
SAMPLES_PER_TOKEN = 1280  # 80 ms of audio make one embedding
LEFT_PAD_TOKENS = 32  # Realtime: silence before the audio
FULL_VOCABULARY, TINY_VOCABULARY = 131_072, 16_384

_NAMED_SPECIALS = {
    0: "<unk>", 1: "<s>", END: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]",
    10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]",
    16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 19: "[TOOL_CONTENT]",
    AUDIO: "[AUDIO]", 25: "[BEGIN_AUDIO]", STREAMING_PAD: "[STREAMING_PAD]",
    STREAMING_WORD: "[STREAMING_WORD]", 34: "[TRANSCRIBE]",
}  # fmt: skip


def load_tokenizer(path: Path, kind: Kind) -> tuple[Any, tuple[bytes, ...]]:
    """A ``tekken.json``, and the bytes of each of its ids; empty for special tokens.

    Raises:
        WeightsError: it cannot be read, or is laid out otherwise than the engines are written for:
            every transcript would be wrong without a word.
    """
    try:
        tokenizer = MistralTokenizer.from_file(str(path))
        wrong = _differences(tokenizer, kind)
        token_bytes = _token_bytes(tokenizer)
    except (*BROKEN_FILES, MistralCommonException, AssertionError) as error:
        raise WeightsError(
            "not a Voxtral tokenizer", value=str(path), hint=f"its error: {error}"
        ) from error
    if wrong:
        raise WeightsError(
            "a tokenizer of another model than the engine is written for",
            value=f"{path}: {', '.join(wrong)}",
            hint="take the tekken.json that was published with these weights",
        )
    return tokenizer, token_bytes


def _differences(tokenizer: Any, kind: Kind) -> list[str]:
    """What the engines take as given, and the file says otherwise."""
    tekken, audio = (
        tokenizer.instruct_tokenizer.tokenizer,
        tokenizer.instruct_tokenizer.audio_encoder,
    )
    if audio is None:
        return ["it has no audio section"]
    config, encoding, special = audio.audio_config, audio.encoding_config, audio.special_ids
    facts = [
        ("<s>", tekken.bos_id, BEGIN),
        ("</s>", tekken.eos_id, END),
        ("special tokens", tekken.num_special_tokens, SPECIAL_TOKENS),
        ("samples of a token", config.raw_audio_length_per_tok, SAMPLES_PER_TOKEN),
        ("mel bands", encoding.num_mel_bins, MEL_BANDS),
        ("mel hop", encoding.hop_length, HOP_SAMPLES),
        ("mel window", encoding.window_size, WINDOW_SAMPLES),
    ]
    if kind == "voxtral":
        facts.append(("[AUDIO]", special.audio, AUDIO))
    else:
        facts.append(("[STREAMING_PAD]", special.streaming_pad, STREAMING_PAD))
        facts.append(("tokens of silence", config.n_left_pad_tokens, LEFT_PAD_TOKENS))
    return [f"{name} is {found}, not {meant}" for name, found, meant in facts if found != meant]


@functools.cache
def _shipped_tokenizer() -> dict[str, Any]:
    import mistral_common

    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def shipped_token_bytes(vocabulary: int) -> tuple[bytes, ...]:
    entries = _shipped_tokenizer()["vocab"][: vocabulary - SPECIAL_TOKENS]
    return (b"",) * SPECIAL_TOKENS + tuple(base64.b64decode(e["token_bytes"]) for e in entries)


def _token_bytes(tokenizer: Any) -> tuple[bytes, ...]:
    tekken = tokenizer.instruct_tokenizer.tokenizer
    return tuple(tekken.id_to_byte_piece(token) for token in range(tekken.n_words))


def write_tokenizer(path: Path, kind: Kind, vocabulary: int) -> None:
    """A ``tekken.json`` like the real model's, with its first ``vocabulary`` ids."""
    shipped = _shipped_tokenizer()
    audio: dict[str, Any] = {
        "sampling_rate": 16_000,
        "frame_rate": 12.5,
        "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
    }
    if kind == "voxtral":
        audio["chunk_length_s"] = 30.0
    else:
        audio |= {
            "transcription_format": "streaming",
            "transcription_delay_ms": 480.0,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": 32,
        }
    vocab = shipped["vocab"][: vocabulary - SPECIAL_TOKENS]
    content = {
        "config": shipped["config"]
        | {
            "version": "v7",  # the first with audio
            "default_vocab_size": vocabulary,
            "default_num_special_tokens": SPECIAL_TOKENS,
            "num_vocab_tokens": len(vocab),
        },
        "vocab": vocab,
        "special_tokens": [
            {"rank": i, "token_str": _NAMED_SPECIALS.get(i, f"<SPECIAL_{i}>"), "is_control": True}
            for i in range(SPECIAL_TOKENS)
        ],
        "audio": audio,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


@functools.cache
def random_tokenizer(kind: Kind, vocabulary: int) -> Any:
    """The tokenizer of random weights, from the one that mistral-common ships."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        write_tokenizer(path, kind, vocabulary)
        return MistralTokenizer.from_file(str(path))

"""A Whisper of random weights in transformers' format, small enough to make in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

BYTES = 256
START, EN, FR, TRANSCRIBE, NO_TIMESTAMPS, END = range(BYTES + 1, BYTES + 7)
NAMES = ("startoftranscript", "en", "fr", "transcribe", "notimestamps", "endoftext")


def save_tiny_whisper(folder: Path, *, seed: int = 0, multilingual: bool = True) -> Path:
    """Vocabulary: one id a byte, one merge (``ab``), six special tokens, one without a name."""
    torch.manual_seed(seed)
    ids = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END}
    config = WhisperConfig(
        vocab_size=END + 2, num_mel_bins=8, d_model=32,
        encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=48,
        max_target_positions=24, decoder_start_token_id=START, init_std=0.3, **ids,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=START, no_timestamps_token_id=NO_TIMESTAMPS, max_length=24,
        suppress_tokens=[1, 2, 3], begin_suppress_tokens=[END], is_multilingual=multilingual, **ids,
    )  # fmt: skip
    if multilingual:
        model.generation_config.lang_to_id = {"<|en|>": EN, "<|fr|>": FR}
        model.generation_config.task_to_id = {"transcribe": TRANSCRIBE}
    model.save_pretrained(folder)

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate(alphabet)} | {"ab": BYTES}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in NAMES])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder

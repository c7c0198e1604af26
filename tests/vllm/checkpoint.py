"""A tiny random Voxtral Realtime in Mistral's format, which vLLM serves: 2.4 M parameters.

Embeddings are tied with the head: rows of special tokens and of raw bytes are made small, so that
the argmax is a readable piece of text at nearly every step. The text means nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from harness.engines.voxtral.tokenizer import write_tokenizer

VOCABULARY = 2048
FIRST_TEXT_ID = 1256  # 1000 special tokens and 256 bytes lie before it
DIM, LAYERS, HEADS, KV_HEADS, HEAD_DIM, HIDDEN = 256, 2, 4, 2, 64, 512  # of the decoder
AUDIO_DIM, AUDIO_LAYERS, AUDIO_HEADS, AUDIO_HIDDEN = 128, 2, 2, 256  # of the encoder
DOWNSAMPLE, ADA_DIM, MELS = 4, 32, 128

ENCODER = {
    "audio_encoding_args": {
        "sampling_rate": 16_000,
        "frame_rate": 12.5,
        "num_mel_bins": MELS,
        "hop_length": 160,
        "window_size": 400,
        "chunk_length_s": None,
        "global_log_mel_max": 1.5,
        "transcription_format": "streaming",
    },
    "dim": AUDIO_DIM,
    "n_layers": AUDIO_LAYERS,
    "head_dim": HEAD_DIM,
    "hidden_dim": AUDIO_HIDDEN,
    "n_heads": AUDIO_HEADS,
    "vocab_size": VOCABULARY,
    "n_kv_heads": AUDIO_HEADS,
    "use_biases": True,
    "use_cache": False,
    "rope_theta": 1e6,
    "causal": True,
    "norm_eps": 1e-5,
    "pos_embed": "rope",
    "max_source_positions": None,
    "ffn_type": "swiglu",
    "norm_type": "rms_norm",
    "sliding_window": 750,
}
PARAMS = {
    "dim": DIM,
    "n_layers": LAYERS,
    "head_dim": HEAD_DIM,
    "hidden_dim": HIDDEN,
    "n_heads": HEADS,
    "n_kv_heads": KV_HEADS,
    "use_biases": False,
    "causal": True,
    "rope_theta": 1e6,
    "norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "model_parallel": 1,
    "tied_embeddings": True,
    "sliding_window": 8192,
    "model_max_length": 131_072,
    "max_position_embeddings": 131_072,
    "dtype": "bfloat16",
    "multimodal": {
        "whisper_model_args": {
            "encoder_args": ENCODER,
            "downsample_args": {"downsample_factor": DOWNSAMPLE},
        }
    },
    "ada_rms_norm_t_cond": True,
    "ada_rms_norm_t_cond_dim": ADA_DIM,
}


def write_checkpoint(folder: Path) -> None:
    """``params.json``, ``consolidated.safetensors`` and ``tekken.json`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tekken.json", "voxtral_realtime", VOCABULARY)
    (folder / "params.json").write_text(json.dumps(PARAMS), encoding="utf-8")
    save_file(_weights(), str(folder / "consolidated.safetensors"))


def _weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.05).to(torch.bfloat16)

    embedding = random(VOCABULARY, DIM)
    embedding[:FIRST_TEXT_ID] *= 0.1
    audio = "mm_streams_embeddings.embedding_module."
    whisper = f"{audio}whisper_encoder."
    tensors = {
        f"{audio}tok_embeddings.weight": embedding,
        f"{whisper}conv_layers.0.conv.weight": random(AUDIO_DIM, MELS, 3),
        f"{whisper}conv_layers.0.conv.bias": random(AUDIO_DIM),
        f"{whisper}conv_layers.1.conv.weight": random(AUDIO_DIM, AUDIO_DIM, 3),
        f"{whisper}conv_layers.1.conv.bias": random(AUDIO_DIM),
        f"{whisper}transformer.norm.weight": torch.ones(AUDIO_DIM, dtype=torch.bfloat16),
        f"{audio}audio_language_projection.0.weight": random(DIM, AUDIO_DIM * DOWNSAMPLE),
        f"{audio}audio_language_projection.2.weight": random(DIM, DIM),
        "norm.weight": torch.ones(DIM, dtype=torch.bfloat16),
    }
    attention = AUDIO_HEADS * HEAD_DIM
    for layer in range(AUDIO_LAYERS):
        at = f"{whisper}transformer.layers.{layer}."
        for name in "qkv":
            tensors[f"{at}attention.w{name}.weight"] = random(attention, AUDIO_DIM)
        for name in "qv":
            tensors[f"{at}attention.w{name}.bias"] = random(attention)
        tensors |= {
            f"{at}attention.wo.weight": random(AUDIO_DIM, attention),
            f"{at}attention.wo.bias": random(AUDIO_DIM),
            f"{at}feed_forward.w1.weight": random(AUDIO_HIDDEN, AUDIO_DIM),
            f"{at}feed_forward.w3.weight": random(AUDIO_HIDDEN, AUDIO_DIM),
            f"{at}feed_forward.w2.weight": random(AUDIO_DIM, AUDIO_HIDDEN),
            f"{at}feed_forward.w2.bias": random(AUDIO_DIM),
            f"{at}attention_norm.weight": torch.ones(AUDIO_DIM, dtype=torch.bfloat16),
            f"{at}ffn_norm.weight": torch.ones(AUDIO_DIM, dtype=torch.bfloat16),
        }
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        tensors |= {
            f"{at}attention.wq.weight": random(HEADS * HEAD_DIM, DIM),
            f"{at}attention.wk.weight": random(KV_HEADS * HEAD_DIM, DIM),
            f"{at}attention.wv.weight": random(KV_HEADS * HEAD_DIM, DIM),
            f"{at}attention.wo.weight": random(DIM, HEADS * HEAD_DIM),
            f"{at}attention_norm.weight": torch.ones(DIM, dtype=torch.bfloat16),
            f"{at}ffn_norm.weight": torch.ones(DIM, dtype=torch.bfloat16),
            f"{at}feed_forward.w1.weight": random(HIDDEN, DIM),
            f"{at}feed_forward.w3.weight": random(HIDDEN, DIM),
            f"{at}feed_forward.w2.weight": random(DIM, HIDDEN),
            f"{at}ada_rms_norm_t_cond.0.weight": random(ADA_DIM, DIM),
            f"{at}ada_rms_norm_t_cond.2.weight": random(DIM, ADA_DIM),
        }
    return tensors

"""Forced alignment with a CTC model that spells: any language, no dictionary.

For models of transformers' ``AutoModelForCTC`` with a character vocabulary, such as wav2vec 2.0.
A letter's peak lies inside its sound, so a word's edges come out a frame or two (20 ms each) late
and early. The path is that of Graves et al. 2006 (https://doi.org/10.1145/1143844.1143891).
"""

from __future__ import annotations

import importlib
import unicodedata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.audio import RATE_HZ, Samples
from harness.datasets.alignment import pronounced
from harness.engines.whisper.weights import BROKEN_FILES
from harness.errors import DatasetError, WeightsError
from harness.events import Word
from harness.languages.units import begins_apart, spoken_words


class CtcAligner:
    """A CTC model of a hub id or a folder, on the CPU.

    Raises:
        WeightsError: there is no such model, it is not a CTC model, or it wants another rate.
    """

    def __init__(self, source: str) -> None:
        transformers: Any = importlib.import_module("transformers")  # untyped
        try:
            self._features = transformers.AutoFeatureExtractor.from_pretrained(source)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            self._model = transformers.AutoModelForCTC.from_pretrained(source).eval()
        except BROKEN_FILES as error:
            raise WeightsError(
                f"cannot load a CTC model from {source!r} ({error})",
                allowed="a hub id or a folder with model, tokenizer and feature extractor",
            ) from error
        if self._features.sampling_rate != RATE_HZ:
            raise WeightsError(
                f"{source!r}: sampling rate",
                value=self._features.sampling_rate,
                allowed=f"{RATE_HZ}",
            )
        self.name = source
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._blank: int = self._model.config.pad_token_id
        self._between: int | None = self._ids.get(tokenizer.word_delimiter_token)

    def align(self, samples: Samples, text: str) -> tuple[Word, ...]:
        words = spoken_words(text)
        if not words:
            return ()
        targets, owners = self._spell(["".join(pronounced(word)) for word in words])
        log_probs = self._log_probs(samples)
        path = ctc_path(log_probs, targets, self._blank)
        if path is None:
            raise DatasetError(
                "the text has more letters than the audio has frames",
                value=(len(targets), len(log_probs)),
                hint="listen to it; correct text",
            )
        frame_s = len(samples) / RATE_HZ / len(log_probs)
        owner = np.where(path < 0, -1, owners[path])
        aligned = []
        for index, word in enumerate(words):
            frames = np.flatnonzero(owner == index)
            start_s, end_s = float(frames[0] * frame_s), float((frames[-1] + 1) * frame_s)
            aligned.append(Word(text=word, start_s=start_s, end_s=end_s))
        return tuple(aligned)

    def _spell(self, words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Target ids, and for each the index of its word (-1: the delimiter between two)."""
        cased = {char.lower(): index for char, index in self._ids.items() if len(char) == 1}
        # Vocabularies of some languages hold letters and marks apart.
        apart = [unicodedata.normalize("NFD", word) for word in words]
        words = [
            split if all(char in cased for char in split) else word
            for word, split in zip(words, apart, strict=True)
        ]
        unknown = sorted({char for word in words for char in word if char not in cased})
        if unknown:
            raise DatasetError(
                "letters that the CTC model lacks",
                value="".join(unknown),
                allowed="".join(sorted(cased)),
            )
        targets: list[int] = []
        owners: list[int] = []
        for index, word in enumerate(words):
            spaced = index and not begins_apart(word) and not begins_apart(words[index - 1])
            if spaced and self._between is not None:
                targets.append(self._between)
                owners.append(-1)
            targets += [cased[char] for char in word]
            owners += [index] * len(word)
        return np.array(targets), np.array(owners)

    def _log_probs(self, samples: Samples) -> NDArray[np.float32]:
        """[frames, vocabulary]"""
        inputs = self._features(samples, sampling_rate=RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(**inputs).logits[0]
        log_probs: NDArray[np.float32] = logits.log_softmax(-1).float().numpy()
        return log_probs


def ctc_path(
    log_probs: NDArray[np.float32], targets: NDArray[np.int64], blank: int
) -> NDArray[np.int64] | None:
    """The most probable CTC path that spells ``targets``.

    Args:
        log_probs: [frames, vocabulary]
        targets: [letters], ids

    Returns:
        [frames], for each frame the index into ``targets`` or -1 for blank; ``None`` when there
        are too few frames.
    """
    states = np.full(2 * len(targets) + 1, blank)
    states[1::2] = targets
    skips = np.zeros(len(states), bool)  # a letter may follow another without a blank between
    skips[3::2] = targets[1:] != targets[:-1]
    score = np.full(len(states), -np.inf)
    score[:2] = log_probs[0, states[:2]]
    steps = np.zeros((len(log_probs), len(states)), np.int8)  # states advanced: 0, 1 or 2
    for frame in range(1, len(log_probs)):
        by_one = np.r_[-np.inf, score[:-1]]
        by_two = np.where(skips, np.r_[-np.inf, -np.inf, score[:-2]], -np.inf)
        options = np.stack([score, by_one, by_two])
        steps[frame] = options.argmax(0)
        score = options.max(0) + log_probs[frame, states]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    if score[state] == -np.inf:
        return None
    path = np.empty(len(log_probs), np.int64)
    for frame in range(len(log_probs) - 1, -1, -1):
        path[frame] = state // 2 if state % 2 else -1
        state -= steps[frame, state]
    return path

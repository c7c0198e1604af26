"""AlignAtt: a token is committed once the audio it attends to is safely in the past.

Papi et al. 2023 (arXiv:2305.11408). The pass ends at the first token whose cross-attention is
strongest within ``guard_ms`` of the end of the audio: what it means may yet change.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.engines.windows.policies import WindowToken, is_punctuation, last_word_end


class AlignAtt:
    def __init__(self, guard_ms: float) -> None:
        self._guard_s = guard_ms / 1000
        self._safe_s = 0.0  # audio up to here may be attended to
        self._stopped = False

    def begin(self, window_s: float) -> None:
        self._safe_s = window_s - self._guard_s
        self._stopped = False

    def push(self, tokens: Sequence[WindowToken]) -> int:
        if tokens[-1].attended_s > self._safe_s:
            self._stopped = True
        # The token in hand is held: whether its word is over shows with the next one.
        return last_word_end(tokens, len(tokens) - 1)

    def wants_more(self) -> bool:
        return not self._stopped

    def end(self, tokens: Sequence[WindowToken]) -> int:
        if self._stopped:
            return last_word_end(tokens, len(tokens) - 1)
        # The model ended the text; a full stop there may only mean that the audio ended.
        end = len(tokens)
        while end and is_punctuation(tokens[end - 1]):
            end -= 1
        return end

"""LocalAgreement-2: what two successive passes agree on is committed.

Liu et al. 2020 (arXiv:2005.11185); over Whisper: Macháček et al. 2023 (arXiv:2307.14743). A token
is committed as soon as this pass has repeated it and the word that it belongs to is over in both.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.engines.windows.policies import WindowToken, last_word_end


class LocalAgreement:
    def __init__(self) -> None:
        self._before: tuple[WindowToken, ...] = ()  # of the last pass, less what was committed
        self._agreed = 0  # tokens of this pass that are those of the last, from the first on
        self._agrees = True  # no token has differed yet

    def begin(self, window_s: float) -> None:
        self._agreed, self._agrees = 0, True

    def push(self, tokens: Sequence[WindowToken]) -> int:
        index = len(tokens) - 1
        self._agrees = (
            self._agrees
            and index < len(self._before)
            and tokens[index].id == self._before[index].id
        )
        if self._agrees:
            self._agreed = index + 1
        # The token in hand may be the middle of a word: what follows it is not known yet.
        return self._whole(tokens, min(self._agreed, index))

    def wants_more(self) -> bool:
        return True  # the next pass compares with all of this one

    def end(self, tokens: Sequence[WindowToken]) -> int:
        committed = self._whole(tokens, self._agreed)
        self._before = tuple(tokens[committed:])
        return committed

    def _whole(self, tokens: Sequence[WindowToken], agreed: int) -> int:
        """As many of the agreed tokens as end a word in both passes."""
        return min(last_word_end(tokens, agreed), last_word_end(self._before, agreed))

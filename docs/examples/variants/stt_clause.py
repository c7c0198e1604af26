"""A chunking strategy: text is released at punctuation, or after ``most_words`` words."""

from dataclasses import dataclass

import harness


class ClauseChunker(harness.WordHolder):  # splits text into whole words, keeps what is left
    def __init__(self, most_words):
        super().__init__()
        self.most_words = most_words

    def push(self, text, at_ns):
        self._take(text)
        released = []
        while (count := self._clause()) > 0:
            released.append(self._release(count))
        return released

    def _clause(self):  # how many of the words that are held make a clause; 0: not one yet
        for count, word in enumerate(self._words, start=1):
            if count == self.most_words or word.rstrip().endswith((",", ";", ":", ".", "?", "!")):
                return count
        return 0


@dataclass
class Clause(harness.Strategy):
    most_words: int = 8

    def __post_init__(self):
        if self.most_words < 1:
            raise harness.ConfigError(
                "chunking.most_words", value=self.most_words, allowed="1 or more"
            )

    def chunker(self):
        return ClauseChunker(self.most_words)

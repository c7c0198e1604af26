"""Keys are never stored or shown: not in addresses, and not in what the other side sends back.

An address is kept with the run, so one whose parameters have the name of a key is refused. A key
that we know (``engine.api_key_env``, ``serve.token_env``) is taken out of foreign text where that
enters, also in the spellings that a server may echo it in: percent, JSON, HTML, base64, hex.
"""

from __future__ import annotations

import base64
import html
import os
import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import unquote

from harness.errors import ConfigError

REDACTED = "[key]"

_DECODINGS = 5  # of a name that was encoded more than once
_SPLIT = re.compile(r"[?&;#,/]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOUN = (
    r"(?:key|token|secret|password|passwd|pwd|passphrase|credentials?|creds?|signature|sig|jwt"
    r"|auth|authorization|authentication|bearer|hmac)"
)
# A name is a key's by its last word (x-amz-signature, xi-api-key); max_tokens and keywords are not.
_LAST_WORD = re.compile(_NOUN)
# The same written as one word: apikey, AccessToken, clientsecret.
_ONE_WORD = re.compile(
    r"(?:x|xi|api|app|access|auth|id|user|client|consumer|secret|private|shared|master|sign|signing"
    rf"|subscription|session|security|refresh|service|account|license|function|web|csrf|oauth)+{_NOUN}"
)
# Whole names: short ones that mean a key when they stand alone, and parts of signed addresses.
_WHOLE = frozenset(
    {"pass", "pw", "pin", "otp", "tok", "sas", "sid", "code", "ticket", "cookie", "sessionid",
     "jsessionid", "phpsessid", "accesskeyid", "awsaccesskeyid", "googleaccessid", "keypairid",
     "apikeys", "apitokens", "hdnts", "hdnea"}
)  # fmt: skip


def key_from_environment(variable: str, what: str, instead: str = "") -> str:
    """The secret in an environment variable; never empty.

    Args:
        what: it is, for the error.
        instead: what else to do, for its hint.

    Raises:
        ConfigError: the variable is not set.
    """
    if not (key := os.environ.get(variable)):
        raise ConfigError(
            f"environment variable with the {what} is not set",
            value=variable,
            hint=f"export {variable}=...{instead}",
        )
    return key


def names_a_key(name: str) -> bool:
    """Whether a URL parameter of this name, encoded or not, holds a key."""
    name = unicodedata.normalize("NFKC", _decoded(name)).strip(" _-.[]")
    words = [w for w in re.split(r"[^a-z0-9]+", _CAMEL.sub(" ", name).lower()) if w]
    joined = "".join(words)
    return bool(
        words
        and (
            _LAST_WORD.fullmatch(words[-1])
            or _ONE_WORD.fullmatch(words[-1])
            or _ONE_WORD.fullmatch(joined)
            or joined in _WHOLE
        )
    )


def holds_a_key(url: str) -> bool:
    """Whether the name of a parameter, in the query or the path, says that its value is a key."""
    url = "".join(filter(str.isprintable, url))  # URL parsers take line breaks and tabs out
    _, query_sign, query = url.partition("?")
    bare = _SPLIT.split(query) if query_sign else []  # `?token` without a value is one too
    pairs = {*_SPLIT.split(url), *_SPLIT.split(_decoded(url))}
    named = [pair.partition("=")[0] for pair in pairs if "=" in pair]
    return any(map(names_a_key, [*named, *bare]))


def _decoded(text: str) -> str:
    for _ in range(_DECODINGS):
        text, before = unquote(text.replace("+", " ")), text
        if text == before:
            break
    return text


class KnownKeys:
    """Finds and takes out the keys that this process knows, in any spelling of the list above."""

    def __init__(self, keys: Iterable[str | None] = ()) -> None:
        self._keys = [key for key in keys if key]
        # In every spelling of a key, in small letters: without any of these, text holds none.
        self._signs = {"%", "\\", "&"} if self._keys else set()
        for key in self._keys:
            self._signs |= {key.lower(), key.lower().replace(" ", "+"), key.encode().hex()}
            for piece in _base64_pieces(key):
                self._signs |= {piece.lower(), piece.translate(_URL_SAFE).lower()}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def found(self, text: str) -> bool:
        """Whether ``text`` holds a key."""
        low = text.lower()
        return any(sign in low for sign in self._signs) and bool(self._pattern.search(text))

    def redact(self, text: str) -> str:
        """``text`` with :data:`REDACTED` for every key."""
        return self._pattern.sub(REDACTED, text) if self.found(text) else text

    def begun(self, text: str) -> bool:
        """Whether ``text`` ends with so much of a key that the rest may follow in other pieces."""
        low = text.casefold()
        return any(
            low.endswith(key[:length].casefold())
            for key in self._keys
            for length in range(min(_TELLING, len(key)), len(key) + 1)
        )

    @property
    def longest(self) -> int:
        """Characters of the longest spelling: how far back a key in pieces may have begun."""
        return 6 * max(map(len, self._keys), default=0)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        spellings = [spelling for key in self._keys for spelling in _spellings(key)]
        return re.compile("|".join(spellings), re.IGNORECASE)


_TELLING = 8  # characters from the beginning of a key that no speech has
_SHORT = 6  # a key of fewer characters may be part of a word: it counts when it stands alone
_LEAST_BASE64 = 6  # characters of base64 that identify a key


def _spellings(key: str) -> list[str]:
    """Regular expressions of a key: character by character, in base64, in hex."""
    spelt = "".join(map(_character, key))
    found = [rf"(?<!\w){spelt}(?!\w)" if len(key) < _SHORT else spelt]
    for piece in _base64_pieces(key):
        found += [re.escape(piece), re.escape(piece.translate(_URL_SAFE))]
    return [*found, key.encode().hex()] if len(key) >= _SHORT else found


_URL_SAFE = str.maketrans("+/", "-_")


def _base64_pieces(key: str) -> list[str]:
    """What base64 of any text has of a key in it: it may begin at three places of a group."""
    raw, pieces = key.encode(), []
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw).decode()
        certain = encoded[(0, 2, 3)[lead] : (lead + len(raw)) * 8 // 6]
        pieces += [certain] if len(certain) >= _LEAST_BASE64 else []
    return pieces


def _character(character: str) -> str:
    """A character as it is, and as percent, JSON, Python and HTML write it; encoded twice too."""
    code = ord(character)
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode())
    spelt = [re.escape(character), percent, rf"\\+u(?:00)?{code:02x}", rf"\\+x{code:02x}"]
    spelt += [rf"\\+{re.escape(character)}", f"&#0*{code};?", f"&#x0*{code:x};?"]
    spelt += [html.escape(character)] if html.escape(character) != character else []
    spelt += [r"\+"] if character == " " else []
    return f"(?:{'|'.join(spelt)})"

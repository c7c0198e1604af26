"""Names of parameters that hold keys, and known keys in every spelling that comes back."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.keys import REDACTED, KnownKeys, holds_a_key, key_from_environment, names_a_key

KEY = "sk-Se/cr+et_9"


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "APIKEY", "api.key", "api key", "key", "Token", "access_token",
     "accessToken", "auth", "Authorization", "password", "sig", "signature", "jwt", "bearer",
     "client_secret", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token",
     "X-Goog-Signature", "AWSAccessKeyId", "GoogleAccessId", "Ocp-Apim-Subscription-Key",
     "subscription-key", "xi-api-key", "code", "oauth_signature", "token[]",
     "api%5Fkey", "tok%65n", "tok%2565n", "%74%6f%6b%65%6e", "\uff54oken"],
)  # fmt: skip
def test_names_of_keys_in_the_field(name: str) -> None:
    assert names_a_key(name)
    assert holds_a_key(f"wss://host/v1/listen?model=a&{name}=x")
    assert holds_a_key(f"wss://host/v1/listen;{name}=x?model=a")


@pytest.mark.parametrize(
    "name",
    ["chunking", "max_tokens", "design", "keywords", "keyterms_prompt", "language_code", "model",
     "api-version", "X-Amz-Date", "tokenizer", "author", "monkey", "signal", "sample_rate", ""],
)  # fmt: skip
def test_names_of_something_else(name: str) -> None:
    assert not names_a_key(name)
    assert not holds_a_key(f"wss://host/auth/token/v1?{name}=x")


@pytest.mark.parametrize(
    "query", ["?a=1%26token%3Dx", "?a=1;sig=x", "?token", "?to\tken=x", "/token=x/v1"]
)
def test_a_parameter_however_it_is_separated(query: str) -> None:
    assert holds_a_key(f"wss://host{query}")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "percent": lambda key: quote(key, safe=""),
    "every character in percent": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "percent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "form": quote_plus,
    "json": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "json twice": lambda key: json.dumps(json.dumps(key.replace("/", "\\/"))),
    "json escapes": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "python escapes": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "html": html.escape,
    "html numbers": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after one byte": lambda key: base64.b64encode(b":" + key.encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"me:{key}\r\n".encode()).decode(),
    "url-safe base64": lambda key: base64.urlsafe_b64encode(f"u:{key}".encode()).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("key", [KEY, "0123456789abcdef", 'a"b c&d<e>', "~~??>>//++"])
def test_a_key_that_comes_back_is_taken_out(spelling: Callable[[str], str], key: str) -> None:
    keys, text = KnownKeys([None, key]), f"denied: {spelling(key)}!"
    assert keys.found(text)
    shown = keys.redact(text)
    assert shown.startswith("denied: ")
    assert REDACTED in shown
    assert not keys.found(shown)


@given(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=6), st.text(), st.text())
def test_no_text_around_it_hides_a_key(key: str, before: str, after: str) -> None:
    assert key not in KnownKeys([key]).redact(before + key + after).replace(REDACTED, "\n")


def test_text_without_a_key_stays() -> None:
    text = '{"type": "error", "error": "100 % of 3 & 4 \\u00e9 skip-secrets"}'
    assert KnownKeys([KEY]).redact(text) == text
    assert KnownKeys([]).redact(KEY) == KEY


def test_a_short_key_is_no_part_of_a_word() -> None:
    keys = KnownKeys(["abc"])
    assert keys.redact("abc, abcdef %61bc") == "[key], abcdef [key]"


def test_a_key_in_pieces_is_seen_before_it_is_whole() -> None:
    keys = KnownKeys([KEY])
    assert keys.begun("he said SK-SE/CR")
    assert keys.begun(f"he said {KEY}")
    assert not keys.begun("he said sk-se/c")
    assert not keys.begun("he said sk-se/cr and went")


def test_a_key_comes_from_a_variable_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    assert key_from_environment("A_KEY", "key") == "secret"
    for setting in ("", None):
        monkeypatch.delenv("A_KEY") if setting is None else monkeypatch.setenv("A_KEY", setting)
        with pytest.raises(ConfigError, match=r"(?s)with the key is not set: 'A_KEY'.*or leave it"):
            key_from_environment("A_KEY", "key", ", or leave it")

"""Tags are compared by language; what is none is refused, with the next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.datasets import HubDataset
from harness.engines.voxtral import VoxtralModel
from harness.engines.whisper import WhisperModel
from harness.errors import ConfigError
from harness.languages.tags import language_of
from tests.traces import make_trace


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"), ("en-US", "en"), ("EN", "en"), ("eng", "en"), ("en_US", "en"),
        ("EN_us", "en"), ("en-x-mine", "en"), ("pt-BR", "pt"), ("zh-Hant-TW", "zh"), ("cmn", "zh"),
        ("deu", "de"), ("ger", "de"), ("iw", "he"), ("yue", "yue"), ("gsw", "gsw"), ("ja-JP", "ja"),
    ],
)  # fmt: skip
def test_a_tag_is_its_language(tag: str, language: str) -> None:
    assert language_of(tag) == language
    assert language_of(language) == language


@pytest.mark.parametrize(
    "tag",
    ["", "xx", "jp", "english", "en-", "en\n", " en", "und", "mul", "zxx", "mis", "qaa", "qaa-Latn",
     "x-mine", "root", "12", "d e", "é", "C.UTF-8", "e" * 3000],
)  # fmt: skip
def test_what_is_no_language_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not the tag of a language; allowed: "):
        language_of(tag)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda tag: WhisperModel(language=tag), "model.language"),
        (lambda tag: VoxtralModel(language=tag), "model.language"),
        (lambda tag: HubDataset(name="n", path="p", language=tag), "dataset.language"),
    ],
)
def test_options_take_any_tag_and_refuse_what_is_none(make, name: str) -> None:
    assert make("en-US").language == make("EN").language == make("eng").language == "en"
    with pytest.raises(ConfigError) as caught:
        make("english")
    assert caught.value.value == "english"
    assert all(part in str(caught.value) for part in (name, "allowed:", "next:"))


def test_a_recorded_session_has_its_language() -> None:
    """Also one that was recorded before tags were reduced: its errors are those of English."""
    import msgspec

    from harness.events import Session

    session = make_trace([("hi", 2100)]).session
    for tag in ("en-US", "EN", "eng"):
        recorded = msgspec.to_builtins(session) | {"language": tag}
        assert msgspec.convert(recorded, Session).language == "en"
    with pytest.raises(msgspec.ValidationError, match="'english' is not the tag of a language"):
        msgspec.convert(msgspec.to_builtins(session) | {"language": "english"}, Session)


def test_usual_languages_need_no_table() -> None:
    """It takes longer to load than a verdict to be found."""
    asked = "import sys; from harness.languages.tags import language_of; language_of('en')"
    done = subprocess.run(
        [sys.executable, "-c", f"{asked}; print('langcodes' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"

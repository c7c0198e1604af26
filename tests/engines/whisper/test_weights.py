from __future__ import annotations

import hashlib
import shutil

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig

from harness.engines.whisper import weights
from harness.engines.whisper.weights import load_whisper_weights, packaged_model_folder
from harness.errors import WeightsError
from tests.tiny_whisper import BYTES, END, save_tiny_whisper


@pytest.fixture(scope="module")
def packaged():
    return load_whisper_weights("packaged")


def test_the_packaged_weights_are_whisper_tiny_en(packaged):
    assert packaged.source == "packaged"
    assert packaged.revision == "0.1.0"
    assert packaged.model.num_parameters() == 37_760_256
    assert packaged.model.dtype == torch.float32
    assert not packaged.model.training


def test_the_bytes_of_ids_join_to_the_text_that_the_tokenizer_decodes(packaged):
    token_bytes = packaged.token_bytes
    tokenizer = Tokenizer.from_file(str(packaged_model_folder() / "tokenizer.json"))
    text = "  Il était — «vraiment» 15 °C…\n\t日本語 🎙️\x00"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes[index] for index in ids).decode() == text
    assert len(token_bytes) == 51_864
    assert set(token_bytes[50_256:]) == {b""}, "end of text, tasks, languages, time stamps"
    assert b"" not in token_bytes[:50_256]


def test_a_missing_package_names_the_next_step(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(WeightsError) as error:
        load_whisper_weights("packaged")
    assert error.value.exit_code == 2
    assert error.value.hint == "uv sync"


def _packaged_copy(tmp_path, monkeypatch):
    folder = shutil.copytree(packaged_model_folder(), tmp_path / "model")
    monkeypatch.setattr(weights, "packaged_model_folder", lambda: folder)
    return folder


def test_a_changed_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    folder = _packaged_copy(tmp_path, monkeypatch)
    with (folder / "model.bin").open("r+b") as file:
        file.write(b"\x07")
    with pytest.raises(WeightsError) as error:
        load_whisper_weights("packaged")
    assert weights.PACKAGED_SHA256 in str(error.value)
    assert "--reinstall" in str(error.value)


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "config.json"])
def test_a_missing_file_of_the_package_is_named(name, tmp_path, monkeypatch):
    (_packaged_copy(tmp_path, monkeypatch) / name).unlink()
    with pytest.raises(WeightsError, match=name):
        load_whisper_weights("packaged")


def test_the_package_has_no_revisions():
    with pytest.raises(WeightsError, match=r"model\.revision"):
        load_whisper_weights("packaged", "main")


def test_a_folder_that_transformers_saved(tmp_path):
    folder = save_tiny_whisper(tmp_path)
    loaded = load_whisper_weights(str(folder))
    file = (folder / "model.safetensors").read_bytes()
    assert loaded.sha256 == hashlib.sha256(file).hexdigest()
    assert (loaded.source, loaded.revision) == (str(folder), None)
    assert sorted(loaded.token_bytes[:BYTES]) == [bytes([byte]) for byte in range(BYTES)]
    assert loaded.token_bytes[BYTES:] == (b"ab", *[b""] * (END + 1 - BYTES))


def test_a_revision_of_a_hub_id_is_the_one_loaded(tmp_path, monkeypatch):
    """The layout of a hub cache: what `hub id at revision` means when there is no network."""
    repository = tmp_path / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    for seed, branch in enumerate(("main", "second")):
        commit = f"{seed}" * 40
        (repository / "refs" / branch).write_text(commit, encoding="utf-8")
        save_tiny_whisper(repository / "snapshots" / commit, seed=seed)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    main, second = (load_whisper_weights("org/tiny", branch) for branch in (None, "second"))
    assert (main.revision, second.revision) == ("0" * 40, "1" * 40)
    assert main.sha256 != second.sha256


@pytest.mark.parametrize("source", ["openai/whisper-not-in-any-cache", "no/such/folder/here"])
def test_a_source_that_cannot_be_reached_names_the_next_step(source):
    with pytest.raises(WeightsError, match="packaged"):
        load_whisper_weights(source)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file(name, tmp_path):
    (save_tiny_whisper(tmp_path) / name).unlink()
    with pytest.raises(WeightsError, match=name):
        load_whisper_weights(str(tmp_path))


def test_a_folder_with_another_architecture(tmp_path):
    save_tiny_whisper(tmp_path)
    BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="BertModel"):
        load_whisper_weights(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_with_a_file_cut_short(name, tmp_path):
    path = save_tiny_whisper(tmp_path) / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError):
        load_whisper_weights(str(tmp_path))

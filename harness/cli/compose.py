"""Hydra: from overrides on the command line to checked configs.

What was learnt by running it: Hydra knows no sub-commands, so the verb is taken off first; its main
returns None, so results are kept on the side; its errors end in exit 1, so they are re-raised here
and become a :class:`ConfigError`.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

import harness
import harness.config as schema
from harness.cli import jobs, own_configs
from harness.cli.typed_text import Text, as_typed, field_of, load_yaml, text_fields
from harness.config import VARIANTS
from harness.datasets import ManifestDataset
from harness.engines.remote.options import RealtimeOptions, refuse_key
from harness.errors import ConfigError, HarnessError, UsageError

# Defaults for code, which on the command line must be said or come from the choice's file.
NO_DEFAULT: dict[type, dict[str, str]] = {
    ManifestDataset: {"manifest": MISSING},
    RealtimeOptions: {"model": MISSING},
}


def config_folder() -> Path:
    """The checkout's ``configs/``, or the copy that an installed package carries."""
    package = Path(harness.__file__).parent
    carried = package / "_configs"
    return carried if carried.is_dir() else package.parent / "configs"


class OwnConfigs(SearchPathPlugin):
    """Hydra looks into the folder of ``--config-dir`` before ours; in both, texts stay texts."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(_folders()):
            search_path.prepend("configs", f"{TypedFiles.scheme()}://{folder}")


class TypedFiles(FileConfigSource):
    """YAML files whose text fields hold what is written there: ``name: 1.10`` is no number."""

    @staticmethod
    def scheme() -> str:
        return "typed"

    def load_config(self, config_path: str) -> ConfigResult:
        read = super().load_config(config_path)
        path = Path(self.path, self._normalize_file_name(config_path))
        group = ".".join(Path(config_path).parent.parts)
        package = (read.header.get("package") or "_group_").replace("_group_", group)
        content = load_yaml(
            path.read_text(encoding="utf-8"), get_yaml_loader(),
            package.replace("_global_", "").strip("."), text_fields_of_all(),
        )  # fmt: skip
        return replace(read, config=OmegaConf.create(content or {}))


def _register() -> None:
    """Tell Hydra the fields of every choice, and the choices that packages bring without a file."""
    Plugins.instance().register(TypedFiles)
    Plugins.instance().register(OwnConfigs)
    store = ConfigStore.instance()
    unchosen = dict.fromkeys(VARIANTS, MISSING)  # a default object would refuse other variants
    store.store(name="schema", node=schema.Config(**unchosen))
    for group, registry in VARIANTS.items():
        with_file = _choices_with_file(group)
        outside = registry.outside()
        for name, kind in registry.loaded():
            unsaid = NO_DEFAULT.get(kind)
            node = kind(**unsaid) if unsaid else kind
            store.store(group=f"schema/{group}", name=name, node=node)
            if name in outside and name not in with_file:
                store.store(group=group, name=name, node=_choice(group, name))


def _choice(group: str, name: str) -> dict[str, Any]:
    """What the file of a choice would say that has no file."""
    defaults: list[Any] = [{f"/schema/{group}@_here_": name}]
    if group == "engine":
        defaults.append({"override /model@_global_.model": "none"})
    return {"defaults": defaults}


Task = Callable[[DictConfig], int]


def with_hydra(verb: str, argv: list[str], task: Task) -> int:
    """Compose the config of ``argv`` and call ``task`` with it, once per job of a sweep.

    Args:
        task: measures, shows and judges; returns the exit code.

    Returns:
        The task's exit code; of a sweep, that of its worst job, in whatever process it ran.

    Raises:
        UsageError: an option that is neither ours nor Hydra's.
        ConfigError: an override does not parse, names no field or group, or has a wrong value.
        HarnessError: ``task`` raised it, and it was no job of a sweep.
    """
    refuse_options(argv, (*FLAGS, *HYDRA_OPTIONS))
    for argument in argv:  # before Hydra makes folders that are called after them
        field, _, value = argument.partition("=")
        if field.endswith(".url"):
            refuse_key(f"config field {field}", value)
    _register()
    argv = [as_override(argument) for argument in argv]
    jobs.begin()
    job = jobs.Guarded(task, jobs.started())

    def guarded(config: DictConfig) -> float | None:
        return job(config)

    decorate = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name="config"
    )
    before, handlers = sys.argv, list(logging.root.handlers)
    if sweeping := {"-m", "--multirun"}.intersection(argv):  # first: argparse takes it nowhere else
        argv = ["-m", *(a for a in argv if a not in sweeping), jobs.naming(argv)]
    sys.argv = [f"python -m harness {verb}", *argv]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of exiting with 1
    try:
        decorate(guarded)()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise as_config_error(error) from error
    except OSError as error:
        raise UsageError(
            f"the run's folder cannot be made: {error}",
            hint="choose another with hydra.run.dir=FOLDER",
        ) from error
    finally:
        sys.argv = before
        _drop_handlers(handlers)
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return jobs.conclude(job)


def compose(overrides: list[str]) -> DictConfig:
    """The config of ``overrides``, inside a task of :func:`with_hydra`."""
    try:
        return hydra.compose(config_name="config", overrides=[as_override(o) for o in overrides])
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise as_config_error(error) from error


def compose_alone(overrides: list[str]) -> DictConfig:
    """The config of ``overrides``, for verbs that make no folder through Hydra.

    Raises:
        UsageError: an option that is not ours.
        ConfigError: as :func:`with_hydra`.
    """
    refuse_options(overrides, tuple(FLAGS))
    _register()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        return compose(overrides)


def _drop_handlers(kept: list[logging.Handler]) -> None:
    """Take away the log's handlers that Hydra installed: whoever called `main` goes on without."""
    for handler in [handler for handler in logging.root.handlers if handler not in kept]:
        logging.root.removeHandler(handler)
        handler.close()


def to_config(composed: DictConfig) -> schema.Config:
    """The checked dataclasses of a composed config.

    Raises:
        ConfigError: a value of the wrong type or out of its range.
    """
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise as_config_error(error) from error
    assert isinstance(config, schema.Config)  # noqa: S101 the root schema
    return config


FLAGS = {"--json": "report.show=json", "--quiet": "report.show=quiet"}
HYDRA_OPTIONS = (
    "-m", "--multirun", "-c", "--cfg", "-i", "--info", "-p", "--package", "--resolve",
    "--hydra-help",
)  # fmt: skip


def refuse_options(argv: list[str], allowed: tuple[str, ...]) -> None:
    """Here, because Hydra would print a usage of its own and exit."""
    for argument in argv:
        if argument.startswith("-") and argument.partition("=")[0] not in allowed:
            raise UsageError("no such option", value=argument, allowed=", ".join(allowed))


# A list, a dict, an interpolation, a sweep, a function, an escape, or quoted already.
_SYNTAX = re.compile(r"""[][{},\\]|^['"]|^\w+\(""")
_PLAIN = re.compile(r"[\w/.:$%*@?|+-]*", re.ASCII)  # what Hydra's grammar takes without quotes


def as_override(argument: str) -> str:
    """A flag as its override; a value quoted that Hydra's grammar refuses, or reads otherwise.

    Raises:
        ConfigError: it adds or removes a field, which nothing would read or miss.
    """
    if argument in FLAGS:
        return FLAGS[argument]
    bare = argument.lstrip("+~")
    if bare != argument and not bare.startswith(("hydra.", "engine.options.")):
        raise ConfigError(
            "fields can be set, but neither added nor removed", value=argument,
            allowed="GROUP=CHOICE and FIELD=VALUE; + and ~ before hydra.* only",
            hint=f"{bare}, if there is such a field: python -m harness run --help",
        )  # fmt: skip
    key, equals, value = argument.partition("=")
    if (text := _text_of(key.lstrip("+~"))) is not None:
        value = as_typed(value, text)
    elif not key.startswith("-") and not _SYNTAX.search(value) and not _PLAIN.fullmatch(value):
        value = "'" + value.replace("'", "\\'") + "'"
    if key.startswith("engine.options."):  # whatever the user's own engine takes
        key = f"++{key}"
    return f"{key}{equals}{value}"


def _text_of(key: str) -> Text | None:
    """How ``key``, a field or a group, holds text; None: it does not."""
    group = key.partition("@")[0]
    if group in groups():  # a name of a file; `null` is one where there is such a file
        return Text(optional="null" not in choices_of(group))
    return field_of(key, text_fields_of_all())


def text_fields_of_all() -> dict[str, Text]:
    """Every field that holds text, of ours and of Hydra's own."""
    return _text_fields(tuple(_classes()))


@functools.lru_cache(maxsize=8)
def _text_fields(classes: tuple[tuple[str, type], ...]) -> dict[str, Text]:
    return text_fields([("", schema.Config), *classes, ("hydra", HydraConf)])


def as_config_error(error: Exception) -> ConfigError:
    """One screen: the first line says what, then what is allowed and what to do."""
    causes = [error]
    while isinstance(cause := causes[-1].__cause__, Exception):
        causes.append(cause)
    if isinstance(causes[-1], HarnessError):  # a range check of a config class
        first = causes[-1]
        return ConfigError(first.what, value=first.value, allowed=first.allowed, hint=first.hint)
    text = " ".join(line.strip() for one in causes for line in str(one).splitlines())
    if isinstance(error, yaml.YAMLError):
        return ConfigError("a config file is not YAML", value=text)
    if match := re.search(r"Key '(\w+)' not in '(\w+)'", text):
        full = re.search(r"full_key: ([\w.]+)", text)
        return _unknown_field(full[1] if full else match[1], fields_of(match[2]))
    if match := re.search(r"Could not override '([\w.@/]+)'", text):
        return _unknown_field(match[1], known_fields())
    if match := re.search(r"Could not find '(\w+)/([^']+)'", text):
        group, choice = match.groups()
        choices = choices_of(group)
        if group in VARIANTS and (why := VARIANTS[group].broken().get(choice)) is not None:
            return why
        return ConfigError(
            f"config group {group}",
            value=choice,
            allowed=", ".join(choices),
            hint=did_you_mean(choice, choices),
        )
    if match := re.search(r"missing mandatory value.*? full_key: ([\w.]+)", text, re.IGNORECASE):
        return ConfigError(
            f"config field {match[1]} must be given", hint=f"add {match[1]}=VALUE to the command"
        )
    if match := re.search(r"Ambiguous value for argument '([^=]+=.+?)' 1\. ", text):
        return ConfigError(
            "several values for one run", value=match[1],
            hint="`compare` interleaves them; `run -m` runs one after the other; a list is [A,B]",
        )  # fmt: skip
    if match := re.search(r"(Value '.*?' .*?) full_key: ([\w.]+)", text):
        return ConfigError(f"config field {match[2]}: {match[1]}")
    return ConfigError("config: " + str(error).strip(), hint="python -m harness run --help")


def _unknown_field(name: str, allowed: list[str]) -> ConfigError:
    group = name.partition(".")[0]
    siblings = [field for field in allowed if field.startswith(f"{group}.")]
    return ConfigError(
        "no such config field or group",
        value=name,
        allowed=", ".join(siblings or [field for field in allowed if "." not in field]) or "none",
        hint=did_you_mean(name, allowed) or "python -m harness run --help",
    )


def did_you_mean(value: str, allowed: list[str]) -> str | None:
    """A hint, where one of ``allowed`` is nearly ``value``."""
    close = difflib.get_close_matches(value, allowed, n=1)
    return f"did you mean {close[0]}?" if close else None


def known_fields() -> list[str]:
    """Every field that some choice of config has, such as ``replay.repeats``, and every group."""
    names = [root.name for root in fields(schema.Config)]
    return names + [f"{name}.{field.name}" for name, kind in _classes() for field in fields(kind)]


def fields_of(class_name: str) -> list[str]:
    """The fields of one config class, such as ``engine.device`` of ``TorchEngine``."""
    if class_name == schema.Config.__name__:
        return known_fields()
    return [
        f"{name}.{field.name}"
        for name, kind in _classes()
        if kind.__name__ == class_name
        for field in fields(kind)
    ]


def _classes() -> Iterator[tuple[str, type]]:
    """(field of the root, class that it may hold)."""
    default = schema.Config()
    for root in fields(schema.Config):
        registry = VARIANTS.get(root.name)
        plain = [type(getattr(default, root.name))]
        kinds = [kind for _, kind in registry.loaded()] if registry else plain
        for kind in kinds:
            if is_dataclass(kind):
                yield root.name, kind


def choices_of(group: str) -> list[str]:
    """The choices of a config group: the files of its folders, and what packages bring."""
    registry = VARIANTS.get(group)
    return sorted({*_choices_with_file(group), *(registry.outside() if registry else ())})


def groups() -> list[str]:
    """The config groups, by the folders in ``configs/`` and in the user's own folder."""
    return sorted({p.name for folder in _folders() for p in folder.iterdir() if p.is_dir()})


def _choices_with_file(group: str) -> set[str]:
    return {path.stem for folder in _folders() for path in (folder / group).glob("*.yaml")}


def _folders() -> list[Path]:
    return [folder for folder in (own_configs.folder(), config_folder()) if folder is not None]


def describe_fields() -> str:
    """Every field of the default config and its value, one a line."""
    config = to_config(compose_alone([]))
    lines: list[str] = []
    for root in fields(config):
        value = getattr(config, root.name)
        if is_dataclass(value):
            lines += [f"  {root.name}.{f.name}={getattr(value, f.name)}" for f in fields(value)]
        else:
            lines.append(f"  {root.name}={value}")
    return "\n".join(lines)

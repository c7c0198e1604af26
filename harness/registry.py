"""Registries: variants of one kind (engines, chunking strategies, ...) by name.

A variant comes from the harness itself, from an installed package that has an entry point in the
kind's group, or from Python (:meth:`Registry.add`). Nothing is imported before it is chosen by
name: a package that cannot be imported gives an error that names it, and only when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module, metadata
from typing import Any, Generic, TypeVar

import msgspec

from harness.errors import ConfigError

T = TypeVar("T")


class Origin(msgspec.Struct, frozen=True):
    """Where a variant that is not the harness's own comes from: part of a run's identity."""

    package: str  # the distribution, or the module where there is none
    version: str | None  # of the distribution; None: the module belongs to no distribution


class Registry(Generic[T]):
    """Variants of one kind, by name."""

    def __init__(self, kind: str, ours: Mapping[str, str], group: str | None = None) -> None:
        """
        Args:
            kind: how errors call one, such as ``engine``.
            ours: name -> ``module:attribute``.
            group: of entry points of installed packages; None: other packages cannot add any.
        """
        self.kind = kind
        self._ours = dict(ours)
        self._group = group
        self._added: dict[str, T] = {}
        self._loaded: dict[str, T] = {}
        self._points: dict[str, list[metadata.EntryPoint]] | None = None  # None: not looked for

    def names(self) -> tuple[str, ...]:
        """All names, the harness's own first; nothing is imported."""
        return tuple(dict.fromkeys([*self._ours, *self._added, *self._entry_points()]))

    def outside(self) -> tuple[str, ...]:
        """The names of those that are not the harness's own."""
        return tuple(name for name in self.names() if name not in self._ours)

    def get(self, name: str) -> T:
        """The variant of this name.

        Raises:
            ConfigError: there is none, two packages claim the name, or its package is broken.
        """
        if name not in self._loaded:
            self._loaded[name] = variant = self._load(name)
            if getattr(variant, "registered_as", None) == "":  # a class that wants to know
                variant.registered_as = name  # type: ignore[attr-defined]
        return self._loaded[name]

    def add(self, name: str) -> Callable[[T], T]:
        """Decorator: registers a variant from Python, for this process.

        Raises:
            ConfigError: the name is taken.
        """
        if name in self.names():
            raise ConfigError(f"this {self.kind} exists already", value=name)

        def keep(variant: T) -> T:
            self._added[name] = variant
            return variant

        return keep

    def remove(self, name: str) -> None:
        """Forget a variant that was added from Python."""
        del self._added[name]
        self._loaded.pop(name, None)

    def loaded(self) -> Iterator[tuple[str, T]]:
        """Every variant that can be loaded, by name; broken packages are left out."""
        for name in self.names():
            try:
                yield name, self.get(name)
            except ConfigError:
                continue

    def broken(self) -> dict[str, ConfigError]:
        """The variants that cannot be loaded or are not used, and why: for ``doctor``."""
        found: dict[str, ConfigError] = {}
        for name in self._ours:
            if points := self._entry_points().get(name):
                packages = ", ".join(map(_package, points))
                found[name] = ConfigError(
                    f"the {self.kind} {name!r} of {packages} is not used: the harness has one of"
                    " this name",
                    hint=f"rename it in {packages}, or uninstall {packages}",
                )
        for name in self.outside():
            try:
                self.get(name)
            except ConfigError as error:
                found[name] = error
        return found

    def origin(self, name: str) -> Origin | None:
        """Where the variant comes from; None: it is the harness's own.

        Raises:
            ConfigError: as :meth:`get`.
        """
        if name in self._ours:
            return None
        if name in self._added:
            return origin_of(self._added[name])
        (point,) = self._entry_points()[name]
        return Origin(package=_package(point), version=point.dist.version if point.dist else None)

    def _load(self, name: str) -> T:
        if name in self._ours:  # whatever packages claim: no package may stop what is ours
            module, _, attribute = self._ours[name].partition(":")
            ours: T = getattr(import_module(module), attribute)
            return ours
        points = self._entry_points().get(name, [])
        if len(points) > 1:
            raise ConfigError(
                f"two packages have a {self.kind} of this name", value=name,
                hint="uninstall one of: " + ", ".join(map(_package, points)),
            )  # fmt: skip
        if name in self._added:
            return self._added[name]
        if not points:
            raise ConfigError(f"no such {self.kind}", value=name, allowed=", ".join(self.names()))
        return self._load_foreign(points[0])

    def _load_foreign(self, point: metadata.EntryPoint) -> T:
        try:
            foreign: T = point.load()
        except (Exception, SystemExit) as error:  # a script that exits when it is imported
            raise ConfigError(
                f"the package {_package(point)} is installed, but its {self.kind} {point.name!r}"
                f" cannot be loaded: {type(error).__name__}: {error}",
                value=point.value,
                hint=f"repair or uninstall {_package(point)}; other choices work without it",
            ) from error
        return foreign

    def _entry_points(self) -> dict[str, list[metadata.EntryPoint]]:
        if self._points is None:
            self._points = {}
            if self._group is not None:
                for point in metadata.entry_points(group=self._group):
                    self._points.setdefault(point.name, []).append(point)
        return self._points


def origin_of(thing: Any) -> Origin:
    """The distribution that the module of a class or function belongs to."""
    module = str(thing.__module__)
    for package in metadata.packages_distributions().get(module.partition(".")[0], []):
        return Origin(package=package, version=metadata.version(package))
    return Origin(package=module, version=None)


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else point.module

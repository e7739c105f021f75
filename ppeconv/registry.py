"""Things that are chosen by name: operators, backbones, data sets, transforms, losses, schedules, runtimes.

What a user may set of such a thing it declares itself, as `Arguments` (see `ppeconv.schema.declaration`) or in the
keyword-only parameters of its signature; there is no second list.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from ppeconv.errors import UserError, nearest
from ppeconv.schema import check, signature_schema
from ppeconv.schema.declaration import Declared

Entry = TypeVar("Entry", bound=Callable[..., Any])


@dataclass(frozen=True)
class Choice:
    """An operator, recalibration block or head with its own arguments, checked once."""

    kind: Registry
    name: str
    make: Any
    """The class."""
    own: Any
    """An instance of what the class declares."""


class Registry:
    """Names of one kind of thing, with the callable that makes it.

    Args:
        kind: what the entries are, for messages ("operator").
        packages: modules that hold the entries, or packages of such modules; they are imported when first needed.
    """

    def __init__(self, kind: str, *packages: str):
        self.kind = kind
        self._packages = packages
        self._entries: dict[str, Callable[..., Any]] = {}
        self._aliases: dict[str, str] = {}

    @overload
    def register(self, target: Entry) -> Entry: ...

    @overload
    def register(self, *, name: str | None = None, aliases: tuple[str, ...] = ()) -> Callable[[Entry], Entry]: ...

    def register(self, target: Any = None, *, name: str | None = None, aliases: tuple[str, ...] = ()) -> Any:
        """Decorator: enter a class or function under its own name, or `name`, and any `aliases`."""
        if target is None:
            return lambda target: self._enter(target, name or target.__name__, aliases)
        return self._enter(target, name or target.__name__, aliases)

    def _enter(self, target: Entry, name: str, aliases: tuple[str, ...]) -> Entry:
        for key in (name, *aliases):
            known = self._entries.get(self._aliases.get(key.lower(), key))
            if known is not None and known is not target:
                raise UserError(
                    f"two {self.kind}s are called {key!r}: one in {inspect.getfile(known)}, "
                    f"one in {inspect.getfile(target)}; rename one of them"
                )
            self._aliases[key.lower()] = name
        self._entries[name] = target
        return target

    def get(self, name: str) -> Any:
        """The entry of that name, in any letter case; an unknown name is an error that suggests near ones."""
        return self._entries[self.canonical(name)]

    def canonical(self, name: str) -> str:
        """The spelling under which a name was registered."""
        if not self.knows(name):
            raise UserError(f"there is no {self.kind} called {name!r}{nearest(name, self._entries)}")
        return self._aliases[name.lower()]

    def name_of(self, entry: Any) -> str:
        """The name under which an entry was registered."""
        return next(name for name, known in self._entries.items() if known is entry)

    def knows(self, name: str) -> bool:
        """Whether there is an entry of that name, in any letter case."""
        self._discover()
        return str(name).lower() in self._aliases

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a shell pattern in any letter case, ResNet18 before ResNet110."""
        self._discover()
        found = [name for name in self._entries if fnmatch.fnmatch(name.lower(), pattern.lower())]
        return sorted(
            found, key=lambda name: [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]
        )

    def summaries(self, pattern: str = "*") -> dict[str, str]:
        """Names that match, each with the first line of its docstring."""
        return {name: (inspect.getdoc(self._entries[name]) or "").partition("\n")[0] for name in self.names(pattern)}

    def schema(self, name: str) -> type[BaseModel]:
        """What a user may set of the entry."""
        return _schema(self.get(name))

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`arguments` as the entry takes them; a UserError where they do not fit what it declares."""
        checked = check(self.schema(name), arguments, self.canonical(name))
        return {key: getattr(checked, key) for key in arguments}

    def choose(self, name: str | Choice, own: Mapping[str, Any]) -> Choice:
        """The entry of that name with own arguments; a UserError where they do not fit what it declares."""
        if isinstance(name, Choice):
            if own:
                raise UserError(f"{name.name} was chosen with its arguments already; got {', '.join(own)} besides")
            return name
        canonical, made = self.canonical(name), self.get(name)
        if not (isinstance(made, type) and issubclass(made, Declared)):
            raise UserError(
                f"the {self.kind} {canonical} cannot be put into a network: it is neither a ConvOperator, as "
                "operators are, nor a Block, as recalibration blocks and heads are (docs/add_operator.md)"
            )
        return Choice(self, canonical, made, check(self.schema(name), own, canonical))

    def create(self, name: str, *args: Any, **arguments: Any) -> Any:
        """Call the entry with `args` from the program and checked `arguments` from the user."""
        return self.get(name)(*args, **self.check(name, arguments))

    def accepts(self, name: str, argument: str) -> bool:
        """Whether the entry has an argument of that name."""
        return argument in self.schema(name).model_fields

    def _discover(self) -> None:
        for name in self._packages:
            package = importlib.import_module(name)
            for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                importlib.import_module(f"{name}.{module.name}")


@cache
def _schema(entry: Any) -> type[BaseModel]:
    return getattr(entry, "Arguments", None) or signature_schema(entry)


def placed(name: str) -> Registry:
    """The registry of an operator, recalibration block or head of that name."""
    found = [registry for registry in PLACED if registry.knows(name)]
    if not found:
        words = [known for registry in PLACED for known in registry.names()]
        raise UserError(
            f"there is no operator, change of branches, recalibration block or head called {name!r}"
            f"{nearest(name, words)}"
        )
    return found[0]


OPERATORS = Registry("operator", "ppeconv.operators")
RECALIBRATIONS = Registry("recalibration block", "ppeconv.recalibration")
HEADS = Registry("head", "ppeconv.recalibration")
BRANCHES = Registry("change of residual branches", "ppeconv.branches")
BACKBONES = Registry("backbone", "ppeconv.backbones", "ppeconv.networks")
DATASETS = Registry("data set", "ppeconv.data.datasets", "ppeconv.data.given")
TRANSFORMS = Registry("transform", "ppeconv.data.transforms", "ppeconv.data.randaugment")
LOSSES = Registry("loss", "ppeconv.engine.losses")
OPTIMIZERS = Registry("optimizer", "ppeconv.engine.optimizers")
MIXTURES = Registry("mixture of images", "ppeconv.engine.mixing")
SCHEDULES = Registry("learning rate schedule", "ppeconv.engine.schedules")
RUNTIMES = Registry("runtime", "ppeconv.deployment.runtimes")

PLACED = OPERATORS, RECALIBRATIONS, HEADS, BRANCHES
"""What the section `Operator` of a config can put into a network."""

register_operator = OPERATORS.register
register_recalibration = RECALIBRATIONS.register
register_backbone = BACKBONES.register

"""The networks that could be taken in place of a plain one: narrower ones, and the operators that apply to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from ppeconv import config as configs
from ppeconv.backbones.external import is_external
from ppeconv.backbones.protocol import offers
from ppeconv.benchmark.networks import Network
from ppeconv.config import Config
from ppeconv.config.files import read
from ppeconv.errors import UserError
from ppeconv.experiment import Experiment
from ppeconv.experiment.speed import of_config
from ppeconv.pretrained.network import Network as TrainedNetwork
from ppeconv.registry import BACKBONES, OPERATORS
from ppeconv.schema.values import listed, on_one_line
from ppeconv.surgery.replace import coverage
from ppeconv.zoo.rows import read_jobs

NARROWER = 0.75, 0.5, 0.375, 0.25
"""Widths of the narrower plain networks, as parts of the plain one's."""
_PHOTO = 3, 224, 224
"""Images of networks that do not say which they are made for, as those of other libraries."""


@dataclass(frozen=True)
class Candidate:
    """The plain network, a narrower one, or the plain one with an operator."""

    operator: str
    """Its name, or "plain"."""
    arguments: str = ""
    """In YAML: "ratio: 0.25", or "width: 0.5" of a narrower plain network."""

    @property
    def width(self) -> float | None:
        """Of a narrower plain network."""
        return float(self.arguments.removeprefix("width: ")) if self.is_plain and self.arguments else None

    @property
    def is_plain(self) -> bool:
        """Whether it has no operator, at any width."""
        return self.operator == PLAIN.operator

    @property
    def overrides(self) -> list[str]:
        """What makes it of the plain network's config, as behind -o."""
        if self.is_plain:
            return [f"Arch.width={self.width:g}"] if self.width else []
        return ["Operator={" + ", ".join(filter(None, [f"name: {self.operator}", self.arguments])) + "}"]

    def __str__(self) -> str:
        return f"{self.operator} ({self.arguments})" if self.arguments else self.operator


PLAIN = Candidate("plain")


@dataclass(frozen=True)
class Host:
    """The plain network that operators are put into: that of a config, whose own operators are left out."""

    config: str
    """A file, or the name of a shipped one."""
    overrides: tuple[str, ...] = ()
    """`Section.key=value`."""

    @classmethod
    def of_arch(cls, name: str, overrides: Sequence[str] = ()) -> Host:
        """The network of that name in the first shipped config that has it, else in one of images of the same size."""
        name = name if is_external(name) else BACKBONES.canonical(name)
        plain = {known: values["Arch"]["name"] for known, values in _shipped() if not _is_changed(values)}
        for known, arch in plain.items():
            if arch == name:
                return cls(known, tuple(overrides))
        for known, arch in plain.items():
            if _image_shape(arch) == _image_shape(name):
                return cls(known, (f"Arch.name={name}", *overrides))
        raise UserError(f"no shipped config has images for {name}; name a config of its own with -c")

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The overrides, with image shape and classes where these follow from data that are not on this machine."""
        given = *self.overrides, "Operator=null", "AnyWidth=null"
        parts = Experiment(self.config, given).parts
        try:
            parts.filled()
        except UserError:
            arch, side = parts.config.Arch, parts.config.DataLoader.image_size
            shape = parts.config.Infer.image_shape or list(_image_shape(arch.name))
            shape = [shape[0], side, side] if side else shape
            classes = arch.class_num or _default(arch.name, "class_num") or 1000
            return *given, f"Arch.class_num={classes}", f"Infer.image_shape={shape}", "Infer.class_names=[]"
        return given

    def of(self, candidate: Candidate = PLAIN) -> Config:
        """A candidate's whole config, image shape and classes filled in."""
        return Experiment(self.config, [*self.settings, *candidate.overrides]).parts.filled().config

    def network(self, candidate: Candidate = PLAIN) -> Network:
        """A candidate to be measured, untrained; raises UserError where it cannot be built."""
        return replace(of_config(self.config, [*self.settings, *candidate.overrides]), name=str(candidate))

    def training(self, candidate: Candidate) -> str:
        """The command that trains a candidate."""
        own = Experiment(self.config, self.overrides).config
        cleared = {"Operator": own.operators and candidate.is_plain, "AnyWidth": own.AnyWidth}
        dropped = [f"{section}=null" for section, is_there in cleared.items() if is_there]
        overrides = [*self.overrides, *dropped, *candidate.overrides]
        return shlex.join(["python", "tools/train.py", "-c", self.config, *(["-o", *overrides] if overrides else [])])

    def candidates(self, operators: str | Sequence[str] | None = None) -> tuple[list[Candidate], dict[str, str]]:
        """The plain network first, narrower ones, and operators; and of what is left out, why.

        Operators are taken with their default arguments and with those of shipped configs and of the zoo's rows.

        Args:
            operators: names; every registered one when not given.
        """
        names = list(map(OPERATORS.canonical, listed(operators))) if operators else OPERATORS.names()
        found = [PLAIN, *self._narrower()]
        left_out: dict[str, str] = {}
        if len(found) == 1:
            left_out["narrower plain networks"] = f"{self.of().Arch.name} has no argument width"
        model = self.network().model
        for name in names:
            for arguments in [] if name == "Conv2D" else variants(name):
                candidate = Candidate(name, _flow(arguments))
                own = dict(arguments)
                try:
                    applies = coverage(model, name, own.pop("rules", None), **own)
                except UserError as error:
                    left_out[str(candidate)] = str(error)
                    continue
                if applies.replaced:
                    found.append(candidate)
                else:
                    left_out[str(candidate)] = applies.reason
        return found, left_out

    def _narrower(self) -> list[Candidate]:
        arch = self.of().Arch
        full = arch.arguments.get("width") or _default(arch.name, "width")
        return [Candidate(PLAIN.operator, f"width: {full * part:g}") for part in NARROWER] if full else []

    def __str__(self) -> str:
        config = self.of()
        arch, shape = config.Arch, "x".join(map(str, config.Infer.image_shape or ()))
        own = {key: value for key, value in arch.arguments.items() if key not in ("in_channels", "image_size")}
        return f"{arch.name} ({_flow({**own, 'images': shape, 'classes': arch.class_num})})"


def network_facts(config: Config) -> dict[str, Any]:
    """What makes a network the one that it is, its classes and images too; the same for configs of the same network."""
    facts = TrainedNetwork.of(config.model_dump()).facts
    return {**facts, "class_num": config.Arch.class_num, "images": config.Infer.image_shape}


def variants(operator: str) -> Iterator[dict[str, Any]]:
    """Arguments, `rules` among them, that shipped configs and the zoo's rows give an operator, and its defaults."""
    seen = []
    for given in [*_sections(), {"name": operator}]:
        if str(given["name"]).lower() != operator.lower():
            continue
        arguments = {key: value for key, value in given.items() if key != "name" and value is not None}
        own = {key: value for key, value in arguments.items() if key != "rules"}
        meant = OPERATORS.choose(operator, own).own, arguments.get("rules") or {}
        if meant not in seen:
            seen.append(meant)
            yield arguments


@cache
def _sections() -> list[dict[str, Any]]:
    """The sections Operator of shipped configs and of the zoo's rows that put one operator into a network."""
    configured = [values.get("Operator") for _, values in _shipped()]
    rows = {job.row.name: job for job in read_jobs()}.values()
    changed = [job for job in rows if any(text.startswith("Operator.") for text in job.row.overrides)]
    trained = [job.experiment().config.model_dump()["Operator"] for job in changed]
    return [section for section in [*configured, *trained] if isinstance(section, dict)]


@cache
def _shipped() -> list[tuple[str, dict[str, Any]]]:
    """Names of the shipped configs and what they say, unchecked."""
    return [(name, read(configs.find(name))) for name in configs.shipped()]


def _is_changed(values: dict[str, Any]) -> bool:
    return bool(values.get("Operator") or values.get("AnyWidth"))


def _image_shape(name: str) -> tuple[int, int, int]:
    own = None if is_external(name) else offers(BACKBONES.get(name)).image_shape
    return own or _PHOTO


def _default(name: str, argument: str) -> Any:
    """Of a backbone's argument; None where it has none such."""
    fields = {} if is_external(name) else BACKBONES.schema(name).model_fields
    return fields[argument].default if argument in fields else None


def _flow(values: dict[str, Any]) -> str:
    """A mapping as YAML on one line, without its braces."""
    return on_one_line(values)[1:-1]

"""Random numbers for every numeric key of a config, drawn from what the keys declare: they train or are refused.

Keys and domains are read from the sections and the registries, so that a new one is tested by itself.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pydantic
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from ppeconv.cli.main import main
from ppeconv.config import Config
from ppeconv.data.datasets import Digits
from ppeconv.registry import (
    BACKBONES,
    BRANCHES,
    DATASETS,
    HEADS,
    LOSSES,
    MIXTURES,
    OPERATORS,
    OPTIMIZERS,
    RECALIBRATIONS,
    SCHEDULES,
    TRANSFORMS,
)
from ppeconv.schema.wording import alternatives, declared, items, lengths, limits, unwrapped, words
from ppeconv.surgery.rules import Rules
from tests.support.runs import trained_run

SMALL = {"name": "ResNet14", "width": 0.25}
NORMALIZE = {"Normalize": {"mean": [0.3], "std": [0.34]}}
REQUIRED = {"size": 28, "mean": [0.3], "std": [0.34], "learning_rate": 0.01, "step_size": 1, "decay_epochs": [1]}
REQUIRED |= {"values": [0.1, 0.01], "teacher": "<teacher>", "image_root": "<images>"}
"""What entries need besides the argument under test; a run and a folder stand for the names in brackets."""
COSTLY = {"num_workers": 1, "samples": 3}
"""How far above its least a number is drawn where it costs time alone."""


@dataclass
class Key:
    """One numeric key and how a config sets it."""

    name: str
    """What a refusal calls it."""
    domain: Any
    overrides: Any
    """Function from a value to {dotted key: value}."""
    cost: int = field(init=False)

    def __post_init__(self):
        self.cost = COSTLY.get(self.name.rpartition(".")[2], 8)


def numeric(annotation):
    """Whether a declared type holds numbers."""
    for option in alternatives(annotation):
        plain, _ = unwrapped(option)
        if plain in (int, float) or (items(plain) is not None and numeric(items(plain))):
            return True
        if get_origin(plain) is Literal and all(type(value) in (int, float) for value in get_args(plain)):
            return True
    return False


def model_of(annotation):
    """The section among a type's alternatives."""
    options = [unwrapped(option)[0] for option in alternatives(annotation)]
    return next((part for part in options if isinstance(part, type) and issubclass(part, pydantic.BaseModel)), None)


def leaves(model, path=()):
    """(path, declared type) of every numeric key in a model and in the models that it holds."""
    for name, info in model.model_fields.items():
        annotation = declared(info)
        if numeric(annotation):
            yield (*path, name), annotation
        elif inner := model_of(annotation):
            yield from leaves(inner, (*path, name))


def nested(path, value):
    for part in reversed(path):
        value = {part: value}
    return value


def section_keys():
    for path, annotation in leaves(Config):
        key = ".".join(path)
        if key == "format":
            continue
        extra = {"AnyWidth.kind": "awn"} if path[0] == "AnyWidth" else {}
        extra |= {"Global.epochs": 1} if key != "Global.epochs" else {}
        yield Key(key, annotation, lambda value, key=key, extra=extra: {**extra, key: value})
    for path, annotation in leaves(Rules):
        rules = partial(nested, path)
        yield Key(
            f"Operator.rules.{path[0]}",
            annotation,
            lambda v, rules=rules: {"Operator": {"name": "Conv2D", "rules": rules(v)}},
        )


def wanted(info):
    """Whether an argument has no default, or the default None, in whose place another section would say something."""
    return info.is_required() or info.default is None


def entry_keys(registry, overrides):
    """A key for each argument of the entries; arguments of one name and domain are tested on one entry."""
    seen = set()
    names = sorted(registry.names(), key=lambda name: "width" not in registry.schema(name).model_fields)
    for name in ["Digits", *names] if registry is DATASETS else names:
        schema = registry.schema(name)
        others = {key: REQUIRED[key] for key, info in schema.model_fields.items() if key in REQUIRED and wanted(info)}
        for path, annotation in leaves(schema):
            known = (path, words(annotation)) in seen and registry is not OPERATORS
            if known or path == ("class_num",):  # which is a key of the section
                continue
            seen.add((path, words(annotation)))
            make = lambda value, name=name, path=path, others=others: overrides(  # noqa: E731
                name, {**others, **nested(path, value)}
            )
            yield Key(".".join([name, *path]), annotation, make)


def transforms(name, arguments):
    chain = [{name: arguments}] if name == "Normalize" else [{name: arguments}, NORMALIZE]
    both = {"DataLoader.Eval.dataset.transform_ops": chain} if name == "Normalize" else {}
    return {"Arch": SMALL, "DataLoader.Train.dataset.transform_ops": chain, **both}


def dataset(name, arguments):
    return {
        f"DataLoader.{side}.dataset.{key}": value
        for side in ("Train", "Eval")
        for key, value in {"name": name, "transform_ops": [{"Resize": {"size": 28}}, NORMALIZE], **arguments}.items()
    }


def backbone(name, arguments):
    own = BACKBONES.schema(name).model_fields
    small = {
        key: value for key, value in {"width": 0.25, "stem": "cifar"}.items() if key in own and "Shuffle" not in name
    }
    chain = [{"Resize": {"size": [32, 32]}}, NORMALIZE]
    sizes = {f"DataLoader.{side}.dataset.transform_ops": chain for side in ("Train", "Eval")}
    return {"Arch": {"name": name, **small, **arguments}, **({} if name.startswith("LeNet") else sizes)}


def all_keys():
    rules = {"after": ["bn1"]}
    makers = {
        BACKBONES: backbone,
        OPERATORS: lambda name, own: {"Arch": SMALL, "Operator": {"name": name, **own}},
        RECALIBRATIONS: lambda name, own: {"Arch": SMALL, "Operator": {"name": name, "rules": rules, **own}},
        HEADS: lambda name, own: {"Arch": SMALL, "Operator": {"name": name, **own}},
        BRANCHES: lambda name, own: {**backbone("ResNet14", {}), "Operator": {"name": name, **own}},
        DATASETS: dataset,
        TRANSFORMS: transforms,
        MIXTURES: lambda name, own: {"DataLoader.Train.dataset.batch_transform_ops": [{name: own}]},
        LOSSES: lambda name, own: {"Loss.Train": [{name: own}]},
        OPTIMIZERS: lambda name, own: {
            "Optimizer": {"name": name, "lr": {"name": "Constant", "learning_rate": 0.01}, **own}
        },
        SCHEDULES: lambda name, own: {"Optimizer": {"name": "Momentum", "lr": {"name": name, **own}}},
    }
    found = list(section_keys())
    for registry, overrides in makers.items():
        found += entry_keys(registry, overrides)
    return found


def valid(annotation, value):
    try:
        pydantic.TypeAdapter(annotation, config={"strict": True, "allow_inf_nan": False}).validate_python(value)
    except pydantic.ValidationError:
        return False
    return True


def inside(annotation, cost):
    """Values of the domain; of a number with an end in sight those near its beginning, as they cost time and memory."""
    strategies = [_inside(*unwrapped(option), cost) for option in alternatives(annotation) if option is not type(None)]
    return st.one_of(strategies).filter(partial(valid, annotation))


def _inside(plain, constraints, cost):
    if get_origin(plain) is Literal:
        return st.sampled_from(get_args(plain))
    if (item := items(plain)) is not None:
        least, most = lengths(constraints)
        return st.lists(inside(item, cost), min_size=least, max_size=most or max(3, least), unique=True).map(sorted)
    bounds = dict(limits(constraints))
    low, high = bounds.get("≥", bounds.get("＞")), bounds.get("≤", bounds.get("＜"))
    if plain is int:
        near = st.integers(low, min(high, low + cost))
        return near if high < 10**9 or cost != 8 else st.one_of(near, near, st.just(high), st.integers(low, high))
    if plain is float:
        between = partial(st.floats, exclude_min="＞" in bounds, exclude_max="＜" in bounds, allow_subnormal=False)
        near = between(low, min(1.5 if high == 16 else high, low + 1))
        return near if high == 16 else st.one_of(near, between(low, high))
    return st.nothing()


def outside(annotation):
    """Values that the domain does not hold."""
    bounds = [
        bound
        for option in alternatives(annotation)
        for plain in [option, items(unwrapped(option)[0])]
        if plain is not None
        for _, bound in limits(unwrapped(plain)[1])
    ]
    numbers = [math.nan, math.inf, -math.inf, -1, -1e-9, 0, 0.5, 2**31, 10**30, 1e300, "x", True]
    numbers += [bound + step for bound in bounds for step in (-1, 1, 1e-3, -1e-3)]
    values = [*numbers, [], {}, *[[number] for number in numbers], *[[number, number] for number in numbers]]
    return st.sampled_from([value for value in values if not valid(annotation, value)])


KEYS = all_keys()


@st.composite
def cases(draw):
    """(key, value, whether the key's domain holds it)."""
    key = draw(st.sampled_from(KEYS))
    good = draw(st.booleans())
    return key, draw(inside(key.domain, key.cost) if good else outside(key.domain)), good


@pytest.fixture
def small_digits(monkeypatch):
    """48 and 24 of the digits, and no pictures of curves."""
    loaded = {split: Digits(".", split).load() for split in ("train", "test")}
    counts = {"train": 48, "test": 24}
    monkeypatch.setattr(Digits, "load", lambda own: tuple(part[: counts[own.split]] for part in loaded[own.split]))
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def arguments(overrides, folder, standing):
    settings = {
        "Global.output_dir": str(folder),
        "Global.max_steps": 2,
        "Global.overwrite": True,
        "Global.use_visualdl": False,
        "DataLoader.Train.sampler.batch_size": 4,
        **overrides,
    }
    texts = {key: yaml.safe_dump(value, default_flow_style=True, width=10**6) for key, value in settings.items()}
    for key, text in texts.items():
        for name, path in standing.items():
            text = text.replace(name, str(path))
        yield f"{key}={text.partition(chr(10) + '...')[0].strip()}"


@pytest.mark.parametrize("count", [50, pytest.param(300, marks=pytest.mark.full)])
def test_any_number_trains_or_is_refused_with_its_domain(count, small_digits, tmp_path, capsys):
    trained = []
    teacher = trained_run(tmp_path / "teacher", "Global.max_steps=1", "Global.use_visualdl=false")
    standing = {"<teacher>": teacher.path, "<images>": tmp_path / "images"}
    for number in range(20):
        file = tmp_path / "images" / ("train", "val")[number % 2] / f"class{number // 2}" / "1.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.full((28, 28), number, np.uint8)).save(file)

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def one(case):
        key, value, good = case
        overrides = key.overrides(value)
        capsys.readouterr()
        code = main(["train", "-c", "lenet_conv_digits", "-o", *arguments(overrides, tmp_path / "run", standing)])
        error = capsys.readouterr().err
        what = f"{key.name}={value!r}: {error}"
        assert code in (0, 2), what
        assert "Traceback" not in error, what
        trained.append(good and code == 0)
        if code == 2:
            assert error.count("ppeconv: error: ") == 1, what
            assert key.name.rpartition(".")[2] in error or "the loss became" in error, what
        if not good:
            assert code == 2, f"{what}was taken"
            domains = [key.domain, *[items(unwrapped(part)[0]) for part in alternatives(key.domain)]]
            assert key.name in error, what
            assert any(words(domain) in error for domain in domains if domain is not None), what

    one()
    assert len(trained) >= count
    assert sum(trained) >= count / 3


def test_every_number_has_both_ends():
    """An integer without an upper end, say, takes what no machine holds."""
    open_ended = []
    for key in KEYS:
        for option in alternatives(key.domain):
            for part in (option, items(unwrapped(option)[0])):
                plain, constraints = unwrapped(part)
                if plain in (int, float) and len(limits(constraints)) != 2:
                    open_ended.append(key.name)
    assert not open_ended

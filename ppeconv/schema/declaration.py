"""What an operator, a recalibration block or a head declares of itself: its own arguments and its papers."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import create_model

from ppeconv.errors import UserError
from ppeconv.schema import Section, check, signature_schema


class Paper(NamedTuple):
    """Where something comes from."""

    title: str
    venue: str = ""
    """Where and when it appeared, such as "CVPR 2020"."""
    arxiv: str | None = None
    """Its number at arXiv."""


class OwnArguments(Section):
    """Own arguments: a field for each, with its type and domain, its default and below it, in quotes, what it means.

    An instance is checked and does not change. Configs, calls, formulas, docs/config.md and the tables read the fields.
    """


class Declared:
    """A layer made for a place in a network, from own arguments that it declares once."""

    papers: ClassVar[tuple[Paper, ...]] = ()
    Arguments: ClassVar[type[OwnArguments]] = OwnArguments

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls) and Declared not in cls.__bases__:
            raise UserError(f"{cls.__name__} has an __init__() of its own, perhaps with its arguments; {_ADVICE}")
        if "Arguments" not in vars(cls):
            _declare_by_signature(cls)

    @classmethod
    def arguments(cls, own: Mapping[str, Any]) -> Any:
        """`own` as an instance of `Arguments`; a UserError where it is none."""
        return check(cls.Arguments, own, cls.__name__)

    @classmethod
    def made(cls, place: Any, own: OwnArguments) -> Any:
        """The layer for a place that was found fit for it, and with own arguments that were checked: nothing is again.

        Args:
            place: what the class is made for, the geometry of a convolution or a number of channels.
            own: an instance of `Arguments`.
        """
        layer = cls.__new__(cls)
        layer._make(place, own)
        return layer

    def _make(self, place: Any, own: Any) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it is made")


_ADVICE = (
    "declare them once, as fields of a class Arguments(OwnArguments), which build() and the other methods are given as "
    "`own` (docs/add_operator.md)"
)
_GIVEN = {"build": 3, "refuse": 3, "describe": 3, "cost": 5}
"""Positional parameters of each method, `own` among them."""


def _declare_by_signature(cls: type[Declared]) -> None:
    """The former way: the keyword-only parameters of `build`, which every method is given.

    `Arguments` is made of them, and the methods get its values as before.
    """
    own = vars(cls)
    former = [name for name, number in _GIVEN.items() if name in own and _positional(own[name]) < number]
    if not former:
        return
    warnings.warn(
        f"{cls.__name__} has its own arguments in the signatures of {', '.join(former)}; {_ADVICE}",
        DeprecationWarning,
        stacklevel=4,
    )
    if "build" in own:
        fields = signature_schema(own["build"]).model_fields
        given: dict[str, Any] = {name: (field.annotation, field) for name, field in fields.items()}
        cls.Arguments = create_model("Arguments", __base__=OwnArguments, **given)
    for name in former:
        setattr(cls, name, _with_values(own[name]))


def _positional(method: Any) -> int:
    """How many positional parameters a method has."""
    parameters = inspect.signature(getattr(method, "__func__", method)).parameters.values()
    return len([p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD])


def _with_values(method: Any) -> Any:
    """A method that is given own arguments and passes their values on as keywords."""
    function = getattr(method, "__func__", method)

    @functools.wraps(function)
    def given_values(self: Any, *args: Any) -> Any:
        *others, own = args
        return function(self, *others, **dict(own))

    return classmethod(given_values) if isinstance(method, classmethod) else given_values

"""Which kind of set does a YAML ask for? Its keys say: a generator's, a dataset's as it is, or one by registration."""

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from ..config import Params, check
from .filling import Made


def kind_of(values: Mapping[str, Any]) -> tuple[type[Params], Callable]:
    """The recipe that a YAML's values are one of, and what makes its set: make(recipe, folder, items=..., ...)."""
    if "generator" in values:
        from .generated import GeneratedSet, make_generated_set

        return GeneratedSet, make_generated_set
    if "dataset" in values and "count" not in values:
        from .prepared import PreparedSet, make_prepared_set

        return PreparedSet, make_prepared_set
    from .registered import RegisteredSet, make_registered_set

    return RegisteredSet, make_registered_set


def make_set(
    values: Mapping[str, Any],
    folder: Path | str,
    *,
    items: Iterable[int] | None = None,
    where: Path | str = "recipe",
    **choices: Any,
) -> Made:
    """Make the items (None: all) that are still missing of the set that a YAML's values ask for.

    where: what errors begin with. choices: device, cache, ...; those that this kind has no use for are left out.
    Raises ConfigError for values that are no recipe, and as the kind's own function.
    """
    kind, make = kind_of(values)
    taken = {name: value for name, value in choices.items() if name in signature(make).parameters}
    return make(check(values, kind, where=where), folder, items=items, **taken)

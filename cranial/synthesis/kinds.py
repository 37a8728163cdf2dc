"""Which kind of set does a YAML ask for? Its keys say: a generator's, a dataset's as it is, or one by registration."""

from collections.abc import Callable, Mapping
from typing import Any

from ..config import Params


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

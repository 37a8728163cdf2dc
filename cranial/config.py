"""A YAML file is an experiment: read strictly, checked once, frozen for good.

    class Training(Params):
        steps: int = Field(gt=0)
        learning_rate: float = Field(default=1e-3, gt=0)

    training = load("params/demo/06_reconstruction.yaml", Training)

No anchors, inheritance or expressions: a YAML says what it means on the line where it is read.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigError(ValueError):
    """A parameter file that cannot be used; the message names the file, the key and the remedy."""


class Params(BaseModel):
    """Base of every parameter model: frozen, and an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


P = TypeVar("P", bound=Params)


def unknown_key(key: object, known: Iterable[str]) -> str:
    """The sentence for a key that nobody declared: names the nearest known key, or else all of them."""
    known = list(known)
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    if nearest:
        return f"unknown key '{key}'; did you mean '{nearest[0]}'?"
    return f"unknown key '{key}'; the known ones are: {', '.join(known) or 'none'}"


def load(path: str | Path, model: type[P]) -> P:
    """The YAML at `path` as a frozen `model`, strict about types: 3 is a float, '3' and true are not numbers.

    Raises ConfigError naming file, key, value and what was expected, for every wrong key at once.
    """
    return check(read_yaml(path), model, where=path)


def check(values: Mapping[str, Any], model: type[P], *, where: str | Path) -> P:
    """Values, as a YAML has them, as a frozen `model`; ConfigError as for `load`, which begins with `where`."""
    try:
        # JSON mode is strict about types, yet takes a list for a tuple and text for a path: YAML has neither.
        return model.model_validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        errors = error.errors()
        # A misspelt key is unknown, and the key it stands for is missing: one mistake, said once.
        errors = [e for e in errors if e["type"] == "extra_forbidden"] or errors
        raise ConfigError(f"{where}: " + "; ".join(_sentence(e, model) for e in errors)) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file; an empty file has none.

    Numbers and booleans as in YAML 1.2: 1e-4 is a number; yes, no, on, off, 007 and 12:30 are text.
    Raises ConfigError for a file that is missing, not YAML, not keys with values, or too clever.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text ({error}); give the path of a YAML file") from None
    try:
        values = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: {getattr(error, 'problem', None) or error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {_kind(values)}, not keys and values; write lines like 'steps: 200'")
    return values


def _sentence(error: Any, model: type[Params]) -> str:
    """One pydantic error as 'key = value: what was expected'."""
    expected = re.sub(r"^(Input|Value error,|Assertion failed,)\s+", "", error["msg"])
    if not error["loc"]:  # of the whole: what its keys say does not go together
        return expected
    *parents, last = error["loc"]
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        inside = "".join(f"{part}: " for part in parents)
        return inside + unknown_key(last, _model_at(model, parents).model_fields)
    if error["type"] == "missing":
        return f"'{key}' is missing; add a line '{key}: ...'"
    return f"{key} = {json.dumps(error['input'])} {expected}"


def _model_at(model: type[Params], location: list[Any]) -> type[Params]:
    """The model at a pydantic error location: through fields, optional ones, and lists of models."""
    for part in location:
        if part in model.model_fields:
            candidates = [model.model_fields[part].annotation]
            while candidates:
                candidate = candidates.pop()
                if isinstance(candidate, type) and issubclass(candidate, Params):
                    model = candidate
                    break
                candidates += get_args(candidate)
    return model


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), type(value).__name__)


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 scalars; no anchors, aliases, merge keys, tags or repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = f"anchors and aliases ('{event.anchor}') are not used here; write the value out"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if not (isinstance(key_node, yaml.ScalarNode) and key_node.tag == "tag:yaml.org,2002:str"):
                problem = f"a key must be a name, not '{self.construct_object(key_node, deep=True)}'"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key_node.value in seen:
                problem = f"'{key_node.value}' stands on line {seen[key_node.value]} already; keep one"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen[key_node.value] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*)$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|nan))$",
        list("-+.0123456789"),
    ),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)

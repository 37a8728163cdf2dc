"""A parameter file is read strictly, and its errors say what to write instead."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError, model_validator

from cranial.config import ConfigError, Params, check, load, read_yaml, unknown_key


class Optimizer(Params):
    learning_rate: float = Field(default=1e-3, gt=0)
    name: str = "adam"


class Training(Params):
    steps: int = Field(gt=0)
    side_vox: int = 96
    mirror: bool = True
    styles: tuple[str, ...] = ("bilateral",)
    weights: Path | None = None
    optimizer: Optimizer = Optimizer()
    schedule: tuple[Optimizer, ...] | None = None


@pytest.fixture
def yaml_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "training.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_becomes_a_frozen_model_with_defaults_for_what_it_leaves_out(yaml_file):
    text = "steps: 200\nstyles: [bilateral, skullfix]\nweights: a/b\noptimizer:\n  learning_rate: 1e-4\n"
    training = load(yaml_file(text), Training)
    assert training == Training(
        steps=200,
        styles=("bilateral", "skullfix"),
        weights=Path("a/b"),
        optimizer=Optimizer(learning_rate=0.0001),
    )
    assert training.side_vox == 96
    with pytest.raises(ValidationError, match="frozen"):
        training.steps = 3


def test_a_whole_number_serves_where_a_real_one_is_asked_for(yaml_file):
    rate = load(yaml_file("steps: 1\noptimizer: {learning_rate: 1}"), Training).optimizer.learning_rate
    assert isinstance(rate, float) and rate == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepps: 200", r"training\.yaml: unknown key 'stepps'; did you mean 'steps'\?$"),
        ("steps: 2\noptimizer: {learning_rat: 1}", "optimizer: unknown key .*did you mean 'learning_rate'"),
        ("steps: 2\nschedule: [{nam: x}]", "schedule: 0: unknown key 'nam'; did you mean 'name'"),
        ("steps: 2\nqqq: 1", "unknown key 'qqq'; the known ones are: steps, side_vox, mirror"),
        ("steps: 2\n'{0}': 1", r"unknown key '\{0\}'"),
        ("side_vox: 64", "'steps' is missing; add a line 'steps: ...'"),
        ("", "'steps' is missing"),
        ("steps: 0", "steps = 0 should be greater than 0"),
        ("steps: many", 'steps = "many" should be a valid integer'),
        ("steps: '2'", 'steps = "2" should be a valid integer'),
        ("steps: true", "steps = true should be a valid integer"),
        ("steps: 2.5", "steps = 2.5 should be a valid integer"),
        ("steps: 2\nmirror: yes", 'mirror = "yes" should be a valid boolean'),
        ("steps: 2\nmirror: 1", "mirror = 1 should be a valid boolean"),
        ("steps: 2\nstyles: bilateral", 'styles = "bilateral" should be a valid array'),
        ("steps: 2\noptimizer: {learning_rate: -1}", "optimizer.learning_rate = -1 should be greater than 0"),
        ("steps: 0\nside_vox: x", "steps = 0 .*; side_vox = "),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_was_expected(yaml_file, text, message):
    with pytest.raises(ConfigError, match=message):
        load(yaml_file(text), Training)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2.5E+3", -2500.0),
        (".5", 0.5),
        ("64_000", 64000),
        ("+7", 7),
        ("0", 0),
        ("007", "007"),
        ("12:30", "12:30"),
        ("2024-06-11", "2024-06-11"),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("", None),
        ("1.2.3", "1.2.3"),
        (".inf", float("inf")),
    ],
)
def test_a_scalar_is_what_it_looks_like(yaml_file, text, value):
    read = read_yaml(yaml_file(f"key: {text}"))["key"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: 2", r"training\.yaml, line 1: anchors and aliases \('x'\) .*write the value out"),
        ("a: {k: 1}\nb: *x", "line 2: anchors and aliases"),
        ("a: 1\nb: 2\na: 3", "line 3: 'a' stands on line 1 already; keep one"),
        ("a:\n  b: 1\n  b: 2", "line 3: 'b' stands on line 2 already"),
        ("1: a", "line 1: a key must be a name, not '1'"),
        ("- a\n- b", "holds a list, not keys and values; write lines like 'steps: 200'"),
        ("just words", "holds text, not keys and values"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: could not determine a constructor"),
        ("a: [1, 2", "line 1: "),
        ("a: b: c", "line 1: mapping values are not allowed here"),
    ],
)
def test_a_file_that_is_too_clever_or_broken_is_refused_with_its_line(yaml_file, text, message):
    with pytest.raises(ConfigError, match=message):
        read_yaml(yaml_file(text))


def test_an_empty_file_has_no_keys(yaml_file):
    assert read_yaml(yaml_file("# only a question\n")) == {}


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml does not exist; give the path of a YAML file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "skull.nrrd").write_bytes(b"NRRD0004\n\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"skull\.nrrd cannot be read as text"):
        read_yaml(tmp_path / "skull.nrrd")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_yaml(tmp_path)


def test_an_unknown_key_of_nothing_says_so():
    assert unknown_key("steps", []) == "unknown key 'steps'; the known ones are: none"


def test_keys_that_do_not_go_together_are_told_in_the_model_s_own_words():
    class Range(Params):
        low: int
        high: int

        @model_validator(mode="after")
        def _ordered(self) -> "Range":
            if self.low > self.high:
                raise ValueError(f"low is {self.low}, high {self.high}; give low <= high")
            return self

    with pytest.raises(ConfigError, match=r"^range\.yaml: low is 2, high 1; give low <= high$"):
        check({"low": 2, "high": 1}, Range, where="range.yaml")

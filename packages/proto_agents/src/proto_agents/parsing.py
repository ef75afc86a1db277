"""Plain values (from YAML) to frozen dataclasses and back, strictly: every mistake names its key and the right one."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import yaml

__all__ = ["ConfigError", "T", "flat", "load_yaml", "merge", "nearest", "nested", "parse_dataclass", "plain"]

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says where and what would be right."""


def nearest(key: str, valid: Iterable[str]) -> str:
    """The end of an error message: the nearest valid key, then all of them."""
    choices = list(valid)
    close = difflib.get_close_matches(key, choices, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}valid: {', '.join(choices) or 'none'}"


def parse_dataclass(kind: type[T], data: Any, where: str, key: str = "") -> T:  # noqa: ANN401 - YAML
    """Builds a dataclass from a mapping; what the mapping leaves out keeps its default.

    Args:
        kind: the dataclass.
        data: the mapping.
        where: for messages, the file that it came from.
        key: for messages, the dotted key of this mapping in the file.

    Raises:
        ConfigError: an unknown key or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: {key or 'the file'} must be a mapping, not {_show(data)}")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values = {}
    for name, value in data.items():
        full = f"{key}.{name}" if key else str(name)
        if name not in names:
            raise ConfigError(f"{where}: unknown key {full!r}; {nearest(str(name), names)}")
        values[name] = _convert(hints[name], value, where, full)
    return kind(**values)


def _convert(kind: Any, value: Any, where: str, key: str) -> Any:  # noqa: ANN401 - any type, any value
    """Checks and converts one value to its annotated type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return parse_dataclass(kind, value, where, key)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: {key} is {value!r}; {nearest(str(value), map(str, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _convert(option, value, where, key)
            except ConfigError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where, f"{key}[{i}]") for i, item in enumerate(value))
        if len(arguments) == len(value):
            return tuple(
                _convert(a, item, where, f"{key}[{i}]")
                for i, (a, item) in enumerate(zip(arguments, value, strict=True))
            )
    elif origin is dict and isinstance(value, Mapping):
        return {str(name): _convert(arguments[1], item, where, f"{key}.{name}") for name, item in value.items()}
    elif kind is type(None):
        if value is None:
            return None
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind in (int, str, bool) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    elif kind is int and isinstance(value, float) and value.is_integer():  # such as 1e6
        return int(value)
    raise ConfigError(f"{where}: {key} must be {_name(kind)}, not {_show(value)}")


def plain(value: Any) -> Any:  # noqa: ANN401 - any configuration value
    """The inverse of parsing: mappings, lists and scalars only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping with the overlay's values; mappings are merged key by key, everything else is replaced."""
    result = dict(base)
    for key, value in overlay.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 - any configuration value
    """The mapping in which a value stands at a path of keys, of which there is at least one."""
    for part in reversed(path):
        value = {part: value}
    return value


def load_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - YAML
    """Reads YAML in which 3e-4 is a number.

    Raises:
        ConfigError: it is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1, as PyYAML reads it, takes 3e-4 for a string; this loader follows YAML 1.2 there."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _name(kind: Any) -> str:  # noqa: ANN401 - a type annotation
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def _show(value: Any) -> str:  # noqa: ANN401 - any value
    return f"{value!r} ({type(value).__name__})"

"""How a message class says what its bytes are. The message class is the schema; nothing else is. Pure.

    @message(key=0, versions=(3, 13), flexible=9)
    class ProduceRequest(Struct):
        transactional_id: String | None = None
        acks: Int16 = 0
        topic_data: Array[TopicProduceData] = ()

A field's annotation is its wire type, its default is the value it has in versions that do not carry it, and
`field(...)` adds the versions that do. Types are resolved from the annotation's text when a version is first
compiled, so that importing a message module costs a few type objects and no more (which is why there is no
`dataclasses` here: it compiles six functions per class at import).

Instances are frozen. Each class has a *builder*, an unfrozen twin of the same layout: the constructor and the
decoder fill a builder with plain attribute stores and then turn it into the class by assigning `__class__`,
which costs a third of going through `object.__setattr__` for each field.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, TypeAlias, TypeVar, cast, dataclass_transform

T = TypeVar("T")
S = TypeVar("S", bound="Struct")

# The wire types. Decoding gives exactly these, arrays as lists; encoding takes other sequences and buffers.
Boolean: TypeAlias = bool
Int8: TypeAlias = int
Int16: TypeAlias = int
Int32: TypeAlias = int
Int64: TypeAlias = int
UInt16: TypeAlias = int
UInt32: TypeAlias = int
Float64: TypeAlias = float
Uuid: TypeAlias = bytes  # 16 of them
String: TypeAlias = str
LegacyString: TypeAlias = str  # int16 length even in flexible versions: the client id of the request header
Bytes: TypeAlias = bytes
Records: TypeAlias = memoryview  # a slice of the decoded buffer, never a copy
Array: TypeAlias = Sequence[T]

SCALARS: Final[Mapping[str, str]] = {
    "Boolean": "?",
    "Int8": "b",
    "Int16": "h",
    "Int32": "i",
    "Int64": "q",
    "UInt16": "H",
    "UInt32": "I",
    "Float64": "d",
    "Uuid": "16s",
}
"""Fixed-size wire types and their `struct` codes."""
_VARIABLE: Final = frozenset({"String", "LegacyString", "Bytes", "Records"})
ZERO_UUID: Final = bytes(16)
EMPTY_RECORDS: Final = memoryview(b"")


class Field(NamedTuple):
    """One field of a struct, over all versions."""

    name: str
    type: str  # "Int32", "String", ...; the class name of a struct
    struct: builtins.type[Struct] | None
    array: bool
    since: int
    until: int | None  # the last version that carries it
    nullable_since: int | None
    tag: int | None
    default: Any

    def carried(self, version: int) -> bool:
        """Whether the bytes of `version` hold this field."""
        return self.since <= version and (self.until is None or version <= self.until)

    def nullable(self, version: int) -> bool:
        """Whether `None` is legal in `version`."""
        return self.nullable_since is not None and self.nullable_since <= version


class _Declared(NamedTuple):
    default: Any
    since: int
    until: int | None
    nullable_since: int | None
    tag: int | None


def field(
    *,
    default: T,
    since: int = 0,
    until: int | None = None,
    nullable_since: int | None = None,
    tag: int | None = None,
) -> T:
    """A field that not every version carries, is nullable only later, or is tagged.

    `since` and `until` are the first and last version that carry it. A field annotated `| None` may be null
    in every version that carries it, or from `nullable_since` on. `tag` makes it a tagged field (KIP-482).
    """
    return cast("T", _Declared(default, since, until, nullable_since, tag))


class Schema:
    """What the wire knows of one class, kept apart from the names of its fields."""

    __slots__ = ("annotations", "builder", "declared", "decoders", "encoders", "flexible", "key", "versions")

    def __init__(
        self, annotations: Mapping[str, str], declared: Mapping[str, _Declared], builder: type
    ) -> None:
        self.annotations = annotations
        self.declared = declared
        self.builder = builder
        """The unfrozen twin; only the constructor and the codec have business with it."""
        self.versions: tuple[int, int] | None = None
        """First and last version of a message; None for a struct that lives inside messages."""
        self.flexible: int | None = None
        """First flexible version, or None."""
        self.key: int | None = None
        """API key of a request or response, type of a metadata or group record."""
        self.decoders: dict[int, Callable[..., Any]] = {}
        self.encoders: dict[int, Callable[..., Any]] = {}

    def is_flexible(self, version: int) -> bool:
        """Whether `version` has compact lengths and tagged fields (KIP-482)."""
        return self.flexible is not None and version >= self.flexible


class Struct:
    """What every message and every struct inside one has in common. Instances are frozen."""

    __slots__ = ()
    __schema__: ClassVar[Schema]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self.__schema__.declared)

    def __hash__(self) -> int:
        return hash(tuple(_hashable(getattr(self, name)) for name in self.__schema__.declared))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__schema__.declared)
        return f"{type(self).__name__}({inside})"


def _same(one: object, two: object) -> bool:
    """Equality that does not tell a list from a tuple, as arrays may be either."""
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(map(_same, one, two))
    return one == two


def _hashable(value: object) -> object:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def _refuse(self: Struct, name: str, value: object = None) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is frozen: cannot change {name}")


def _first_new(cls: type[S], **values: Any) -> S:
    """The constructor until it is first used: compiles the real one (about 100 us) and puts it in place."""
    schema = cls.__schema__
    names = tuple(schema.declared)
    parameters = "".join(f", {name}=d_{name}" for name in names)
    lines = [f"def __new__(cls, *{parameters}):" if names else "def __new__(cls):", "    self = builder()"]
    lines += [f"    self.{name} = {name}" for name in names]
    lines += ["    self.__class__ = cls", "    return self"]
    namespace: dict[str, Any] = {f"d_{name}": schema.declared[name].default for name in names}
    namespace["builder"] = schema.builder
    exec("\n".join(lines), namespace)  # noqa: S102 - the text above, from field names of our own classes
    new = namespace["__new__"]
    cls.__new__ = staticmethod(new)  # type: ignore[method-assign]
    return cast("S", new(cls, **values))


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def struct(cls: type[S]) -> type[S]:
    """Make `cls` a frozen, slotted, keyword-only struct whose annotated fields all have defaults."""
    namespace = dict(cls.__dict__)
    annotations = cls.__annotations__
    declared: dict[str, _Declared] = {}
    for name in annotations:
        default = namespace.pop(name)
        declared[name] = default if type(default) is _Declared else _Declared(default, 0, None, None, None)
    for key in ("__dict__", "__weakref__", "__annotations__"):
        namespace.pop(key, None)
    names = tuple(annotations)
    builder = type(cls.__name__, (Struct,), {"__slots__": names, "__module__": cls.__module__})
    namespace.update(
        __slots__=(),
        __new__=_first_new,
        __setattr__=_refuse,
        __delattr__=_refuse,
        __schema__=Schema(annotations, declared, builder),
    )
    return cast("type[S]", type(cls.__name__, (builder,), namespace))


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def message(
    *, versions: tuple[int, int], flexible: int | None, key: int | None = None
) -> Callable[[type[S]], type[S]]:
    """A struct that stands alone: first and last version, first flexible one, API key or record type."""

    def make(cls: type[S]) -> type[S]:
        made = struct(cls)
        made.__schema__.versions = versions
        made.__schema__.flexible = flexible
        made.__schema__.key = key
        return made

    return make


def fields_of(cls: type[Struct]) -> tuple[Field, ...]:
    """The fields of a struct in wire order, with their types resolved."""
    return tuple(_resolve(cls, name, text) for name, text in cls.__schema__.annotations.items())


def replace(value: S, **changes: Any) -> S:
    """A copy of `value` with some fields changed."""
    values = {name: getattr(value, name) for name in value.__schema__.declared}
    return type(value)(**(values | changes))


def _resolve(cls: type[Struct], name: str, text: str) -> Field:
    declared = cls.__schema__.declared[name]
    kind = text.removesuffix(" | None")
    nullable = declared.nullable_since
    if nullable is None and kind != text:
        nullable = declared.since
    array = kind.startswith("Array[")
    if array:
        kind = kind[len("Array[") : -1]
    inner = None
    if kind not in SCALARS and kind not in _VARIABLE:
        inner = vars(sys.modules[cls.__module__])[kind]
        assert issubclass(inner, Struct), f"{cls.__name__}.{name}: {kind} is no wire type"
    return Field(
        name, kind, inner, array, declared.since, declared.until, nullable, declared.tag, declared.default
    )

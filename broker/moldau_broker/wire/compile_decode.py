"""Writes the decoder of one (message, version) as Python source. Pure; `codec` compiles and keeps it.

What makes the source fast: a run of fixed-size fields, the length of what follows and the tag count are one
`struct` call; nothing is called per primitive; nested structs are loops in the one function; fields are
stored straight into the struct's builder. What makes it safe: a count is held against the bytes that remain
before anything is built, and reading past the end is an IndexError or struct.error that becomes WireError.
"""

from __future__ import annotations

from struct import Struct as Packed
from struct import calcsize, unpack_from
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, Final

from moldau_broker.base.limits import TAGGED_FIELD_BYTES_MAX
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import read_uvarint
from moldau_broker.wire.schema import SCALARS, Field, Struct, fields_of

STRING_BYTES_MAX: Final = 32767
"""Kafka's own bound on any protocol string, also where a compact length could say more."""
_SMALL: Final = 9
_NULL_STRUCT: Final = "b"


def decoder_source(cls: type[Struct], version: int) -> tuple[str, dict[str, Any]]:
    """The source of `decode(buf, offset) -> (message, next offset)` and the names it needs."""
    writer = _Writer(cls, version)
    return writer.function(), writer.namespace


def holds_records(cls: type[Struct]) -> bool:
    """Whether some field of `cls`, at any depth, is a slice of the buffer."""
    return any(f.type == "Records" or (f.struct and holds_records(f.struct)) for f in fields_of(cls))


def element_size_min(field: Field, version: int, flexible: bool) -> int:
    """The fewest bytes one value of the field's type takes; an array's own fewest bytes are its count."""
    if field.array:
        return 1 if flexible else 4
    return _value_size_min(field, version, flexible)


def _value_size_min(field: Field, version: int, flexible: bool) -> int:
    if field.type in SCALARS:
        return calcsize(">" + SCALARS[field.type])
    if field.struct is not None:
        return (
            1
            if field.nullable(version) and not field.array
            else _struct_size_min(field.struct, version, flexible)
        )
    if field.type == "LegacyString":
        return 2
    if flexible:
        return 1
    return 2 if field.type == "String" else 4


def _struct_size_min(cls: type[Struct], version: int, flexible: bool) -> int:
    sizes = (
        element_size_min(f, version, flexible)
        for f in fields_of(cls)
        if f.carried(version) and (f.tag is None or not flexible)
    )
    return max(1, sum(sizes) + (1 if flexible else 0))


class _Writer:
    def __init__(self, cls: type[Struct], version: int) -> None:
        self.cls = cls
        self.version = version
        self.flexible = cls.__schema__.is_flexible(version)
        self.in_place = holds_records(cls)
        self.lines: list[str] = []
        self.depth = 2
        self.count = 0
        self.pending: list[tuple[str, str]] = []
        self.namespace: dict[str, Any] = {
            "WireError": WireError,
            "StructError": StructError,
            "more": _more,
            "skip_tags": skip_tags,
            "unpack_from": unpack_from,
            "bad": _bad,
            "TAG_MAX": TAGGED_FIELD_BYTES_MAX,
        }

    def function(self) -> str:
        name = f"{self.cls.__name__} v{self.version}"
        head = ["def decode(buf, start):", "    try:"]
        if self.in_place:
            head += ["        b = memoryview(buf)", "        p = start"]
        else:
            head += ["        b = buf if type(buf) is bytes else bytes(memoryview(buf)[start:])"]
            head += ["        p = start if b is buf else 0"]
        head += ["        end = len(b)"]
        root = self.struct(self.cls)
        tail = [f"        return {root}, " + ("p" if self.in_place else "(p if b is buf else p + start)")]
        tail += ["    except (StructError, IndexError):"]
        tail += [f"        raise WireError({name + ': the bytes end early'!r}) from None"]
        tail += ["    except UnicodeDecodeError:"]
        tail += [f"        raise WireError({name + ': a string is not UTF-8'!r}) from None"]
        return "\n".join(head + self.lines + tail)

    # -- text --

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def unique(self, name: str) -> str:
        self.count += 1
        return f"{name}{self.count}"

    def bind(self, name: str, value: Any) -> str:
        bound = self.unique(name)
        self.namespace[bound] = value
        return bound

    def want(self, code: str, target: str) -> None:
        """Read a fixed-size value into `target`, together with its neighbours."""
        self.pending.append((code, target))

    def flush(self) -> None:
        if not self.pending:
            return
        codes = "".join(code for code, _ in self.pending)
        targets = [target for _, target in self.pending]
        self.pending = []
        if codes == "B":
            self.emit(f"{targets[0]} = b[p]")
            self.emit("p += 1")
            return
        packed = Packed(">" + codes)
        name = "u_" + codes.replace("?", "o")
        self.namespace[name] = packed.unpack_from
        self.emit(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {name}(b, p)")
        self.emit(f"p += {packed.size}")

    def fail(self, where: str, what: str) -> str:
        return f"raise WireError({f'{self.cls.__name__} v{self.version}: {where}: {what}'!r})"

    # -- structs --

    def struct(self, cls: type[Struct]) -> str:
        """Read one struct; gives the variable that holds it."""
        self.flush()
        holder = self.unique("o")
        self.emit(f"{holder} = {self.bind('new', cls.__schema__.builder)}()")
        tagged = []
        for field in fields_of(cls):
            target = f"{holder}.{field.name}"
            if not field.carried(self.version):
                self.emit(f"{target} = {self.default(field)}")
            elif field.tag is not None and self.flexible:
                tagged.append(field)
                self.emit(f"{target} = {self.default(field)}")
            else:
                self.field(field, target)
        if self.flexible:
            self.tags(tagged, holder)
        self.flush()
        self.emit(f"{holder}.__class__ = {self.bind('done', cls)}")
        return holder

    def default(self, field: Field) -> str:
        value = field.default
        if value is None or isinstance(value, (bool, int, str)) or value == ():
            return repr(value)
        return self.bind("d", value)

    def tags(self, tagged: list[Field], holder: str) -> None:
        count = self.unique("t")
        self.want("B", count)
        self.flush()
        self.emit(f"if {count}:")
        self.depth += 1
        if not tagged:
            self.emit(f"p = skip_tags(b, p, end, {count})")
        else:
            self.known_tags(tagged, holder, count)
        self.depth -= 1

    def known_tags(self, tagged: list[Field], holder: str, count: str) -> None:
        limit, last, tag, size, stop = (
            self.unique(name) for name in ("limit", "last", "tag", "size", "stop")
        )
        self.emit(f"if {count} > 127: {count}, p = more(b, p, {count})")
        self.emit(f"{limit} = min(end, p + TAG_MAX)")
        self.emit(f"{last} = -1")
        self.emit(f"for _ in range({count}):")
        self.depth += 1
        for name in (tag, size):
            self.emit(f"{name} = b[p]; p += 1")
            self.emit(f"if {name} > 127: {name}, p = more(b, p, {name})")
        self.emit(f"if {tag} <= {last}: {self.fail('tags', 'not in ascending order')}")
        self.emit(f"{last} = {tag}")
        self.emit(f"{stop} = p + {size}")
        self.emit(f"if {stop} > {limit}: {self.fail('tags', 'too long')}")
        for position, field in enumerate(tagged):
            self.emit(f"{'elif' if position else 'if'} {tag} == {field.tag}:")
            self.depth += 1
            self.field(field, f"{holder}.{field.name}")
            self.flush()
            self.emit(f"if p != {stop}: {self.fail(field.name, 'the tag has another size')}")
            self.depth -= 1
        self.emit(f"else: p = {stop}")
        self.depth -= 1

    # -- fields --

    def field(self, field: Field, target: str) -> None:
        if field.array:
            self.array(field, target)
        elif field.type in SCALARS:
            self.want(SCALARS[field.type], target)
        elif field.struct is not None:
            self.nested(field, target)
        else:
            self.blob(field, target)

    def nested(self, field: Field, target: str) -> None:
        assert field.struct is not None
        if not field.nullable(self.version):
            self.emit(f"{target} = {self.struct(field.struct)}")
            return
        present = self.unique("n")
        self.want(_NULL_STRUCT, present)
        self.flush()
        self.emit(f"if {present} < 0: {target} = None")
        self.emit("else:")
        self.depth += 1
        self.emit(f"{target} = {self.struct(field.struct)}")
        self.depth -= 1

    def length(self, field: Field, target: str, code: str) -> str:
        """Read a length or count; emits the null case and leaves the writer inside the `else` branch."""
        n = self.unique("n")
        compact = self.flexible and field.type != "LegacyString"
        if field.array:
            compact = self.flexible
        self.want("B" if compact else code, n)
        self.flush()
        if compact:
            self.emit(f"if {n} > 127: {n}, p = more(b, p, {n})")
            self.emit(f"{n} -= 1")
        self.emit(f"if {n} < 0:")
        self.depth += 1
        if not field.nullable(self.version):
            self.emit(self.fail(field.name, "null is not legal here"))
        else:
            if not compact:
                self.emit(f"if {n} != -1: {self.fail(field.name, 'negative length')}")
            self.emit(f"{target} = None")
        self.depth -= 1
        return n

    def blob(self, field: Field, target: str) -> None:
        """A string, bytes or records."""
        is_text = field.type in ("String", "LegacyString")
        n = self.length(field, target, "h" if is_text else "i")
        self.emit("else:")
        self.depth += 1
        stop = self.unique("q")
        self.emit(f"{stop} = p + {n}")
        where = f"{self.cls.__name__} v{self.version}: {field.name}"
        self.emit(f"if {stop} > end: raise bad({where!r}, {n}, end - p)")
        if is_text:
            if self.flexible:
                self.emit(f"if {n} > {STRING_BYTES_MAX}: {self.fail(field.name, 'the string is too long')}")
            text = f"str(b[p:{stop}], 'utf-8')" if self.in_place else f"b[p:{stop}].decode()"
            self.emit(f"{target} = {text}")
        elif field.type == "Records" or not self.in_place:
            self.emit(f"{target} = b[p:{stop}]")
        else:
            self.emit(f"{target} = bytes(b[p:{stop}])")
        self.emit(f"p = {stop}")
        self.depth -= 1

    def array(self, field: Field, target: str) -> None:
        n = self.length(field, target, "i")
        single = field._replace(array=False)
        size = _value_size_min(field, self.version, self.flexible)
        self.emit("else:")
        self.depth += 1
        where = f"{self.cls.__name__} v{self.version}: {field.name}"
        self.emit(f"if {n} * {size} > end - p: raise bad({where!r}, {n}, end - p)")
        code = SCALARS.get(field.type)
        if code is not None:
            self.scalars(code, size, n, target)
            self.depth -= 1
            return
        items, append = self.unique("l"), self.unique("a")
        self.emit(f"{target} = {items} = []")
        self.emit(f"{append} = {items}.append")
        self.emit(f"for _ in range({n}):")
        self.depth += 1
        if field.struct is not None:
            self.emit(f"{append}({self.struct(field.struct)})")
        else:
            item = self.unique("s")
            self.blob(single._replace(nullable_since=None), item)
            self.emit(f"{append}({item})")
        self.depth -= 2

    def scalars(self, code: str, size: int, n: str, target: str) -> None:
        if code == "16s":
            item = "bytes(b[i:i + 16])" if self.in_place else "b[i:i + 16]"
            self.emit(f"{target} = [{item} for i in range(p, p + {n} * 16, 16)]")
        else:
            name = f"few_{code}"
            self.namespace[name] = tuple(Packed(f">{k}{code}").unpack_from for k in range(_SMALL))
            many = f"unpack_from(f'>{{{n}}}{code}', b, p)"
            self.emit(f"{target} = list({name}[{n}](b, p) if {n} < {_SMALL} else {many})")
        self.emit(f"p += {n} * {size}")


def _more(buf: Any, offset: int, first: int) -> tuple[int, int]:
    """The rest of an unsigned varint whose first byte, at `offset - 1`, says that there is more."""
    return read_uvarint(buf, offset - 1)


def _bad(where: str, n: int, left: int) -> WireError:
    return WireError(f"{where}: {n} of them cannot be in the {left} bytes left")


def skip_tags(buf: Any, offset: int, end: int, count: int) -> int:
    """Step over a tag section of unknown tags; `offset` is just after the first byte of its count."""
    if count > 127:
        count, offset = read_uvarint(buf, offset - 1)
    limit = min(end, offset + TAGGED_FIELD_BYTES_MAX)
    last = -1
    for _ in range(count):
        tag = buf[offset]
        offset += 1
        if tag > 127:
            tag, offset = read_uvarint(buf, offset - 1)
        size = buf[offset]
        offset += 1
        if size > 127:
            size, offset = read_uvarint(buf, offset - 1)
        if tag <= last:
            raise WireError("tags are not in ascending order")
        last = tag
        offset += size
        if offset > limit:
            raise WireError("a tag section is too long")
    return offset

"""Writes the encoder of one (message, version) as Python source. Pure; `codec` compiles and keeps it.

The function gives a list of pieces to join: one `struct` call for each run of fixed-size values (an empty tag
section is a pad byte in that run), strings and buffers as they are.
"""

from __future__ import annotations

from struct import Struct as Packed
from struct import error as StructError  # noqa: N812 - it is a class
from struct import pack
from typing import Any, Final

from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import uvarint
from moldau_broker.wire.schema import SCALARS, Field, Struct, fields_of

_SMALL: Final = 9


def encoder_source(cls: type[Struct], version: int) -> tuple[str, dict[str, Any]]:
    """The source of `encode(message) -> list of pieces` and the names it needs."""
    writer = _Writer(cls, version)
    return writer.function(), writer.namespace


class _Writer:
    def __init__(self, cls: type[Struct], version: int) -> None:
        self.cls = cls
        self.version = version
        self.flexible = cls.__schema__.is_flexible(version)
        self.lines: list[str] = []
        self.depth = 2
        self.count = 0
        self.pending: list[tuple[str, str | None]] = []
        self.append = "w"
        self.namespace: dict[str, Any] = {
            "WireError": WireError,
            "StructError": StructError,
            "uvarint": uvarint,
            "pack": pack,
        }

    def function(self) -> str:
        name = f"{self.cls.__name__} v{self.version}"
        head = ["def encode(m):", "    out = []", "    w = out.append", "    try:"]
        self.struct(self.cls, "m")
        self.flush()
        tail = ["        return out"]
        tail += ["    except (StructError, TypeError, AttributeError, UnicodeEncodeError) as error:"]
        tail += [f"        raise WireError({name + ': '!r} + str(error)) from error"]
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

    def put(self, code: str, value: str | None) -> None:
        """Write a fixed-size value together with its neighbours; `None` is a zero byte."""
        self.pending.append((code, value))

    def packed(self) -> str:
        """The expression that packs what is pending, which stays pending."""
        codes = "".join(code for code, _ in self.pending)
        if codes == "x":
            return r"b'\0'"
        name = "k_" + codes.replace("?", "o")
        self.namespace[name] = Packed(">" + codes).pack
        return f"{name}({', '.join(value for _, value in self.pending if value is not None)})"

    def flush(self) -> None:
        if self.pending:
            self.emit(f"{self.append}({self.packed()})")
            self.pending = []

    def compact(self, n: str) -> None:
        """Write `n` as an unsigned varint, in the pending run when it is one byte."""
        pending = list(self.pending)
        self.put("B", n)
        self.emit(f"if {n} < 128: {self.append}({self.packed()})")
        self.pending = pending
        if pending:
            self.emit(f"else: {self.append}({self.packed()}); {self.append}(uvarint({n}))")
        else:
            self.emit(f"else: {self.append}(uvarint({n}))")
        self.pending = []

    # -- structs and fields --

    def struct(self, cls: type[Struct], holder: str) -> None:
        tagged = []
        for field in fields_of(cls):
            if not field.carried(self.version):
                continue
            if field.tag is not None and self.flexible:
                tagged.append(field)
            else:
                self.field(field, f"{holder}.{field.name}")
        if not self.flexible:
            return
        if tagged:
            self.tags(tagged, holder)
        else:
            self.put("x", None)

    def tags(self, tagged: list[Field], holder: str) -> None:
        """The tag section: a zero byte in the pending run when every tagged field has its default."""
        values = {self.unique("v"): field for field in sorted(tagged, key=lambda field: field.tag or 0)}
        for value, field in values.items():
            self.emit(f"{value} = {holder}.{field.name}")
        pending = list(self.pending)
        self.put("x", None)
        self.emit(f"if {' and '.join(self.is_default(field, value) for value, field in values.items())}:")
        self.emit(f"    {self.append}({self.packed()})")
        self.emit("else:")
        self.pending = pending
        self.depth += 1
        self.flush()
        section = self.unique("t")
        self.emit(f"{section} = []")
        for value, field in values.items():
            content = self.unique("c")
            self.emit(f"if not ({self.is_default(field, value)}):")
            self.depth += 1
            self.emit(f"{content} = []")
            outer, self.append = self.append, f"{content}.append"
            self.field(field, value)
            self.flush()
            self.append = outer
            self.emit(f"{content} = b''.join({content})")
            self.emit(f"{section} += (uvarint({field.tag}), uvarint(len({content})), {content})")
            self.depth -= 1
        self.emit(f"{self.append}(uvarint(len({section}) // 3))")
        self.emit(f"for {section} in {section}: {self.append}({section})")
        self.depth -= 1

    def is_default(self, field: Field, value: str) -> str:
        """The test whether a tagged field can be left out."""
        if field.default is None:
            return f"{value} is None"
        if field.array or field.default == b"":
            return f"{value} is not None and not len({value})"
        default = self.bind("d", field.default)
        # What nobody set is the very default, and telling that costs nothing.
        return f"({value} is {default} or {value} == {default})"

    def field(self, field: Field, value: str) -> None:
        if field.array:
            self.array(field, value)
        elif field.type in SCALARS:
            self.put(SCALARS[field.type], value)
        elif field.struct is not None:
            self.nested(field, value)
        else:
            self.blob(field, value)

    def nested(self, field: Field, value: str) -> None:
        assert field.struct is not None
        holder = self.unique("o")
        self.emit(f"{holder} = {value}")
        if not field.nullable(self.version):
            self.struct(field.struct, holder)
            return
        self.flush()
        self.emit(f"if {holder} is None: {self.append}(b'\\xff')")
        self.emit("else:")
        self.depth += 1
        self.put("b", "1")
        self.struct(field.struct, holder)
        self.flush()
        self.depth -= 1

    def blob(self, field: Field, value: str) -> None:
        """A string, bytes or records: its length in the pending run, then itself."""
        is_text = field.type in ("String", "LegacyString")
        compact = self.flexible and field.type != "LegacyString"
        s, n = self.unique("s"), self.unique("n")
        one = " + 1" if compact else ""
        if field.nullable(self.version):
            self.emit(f"{s} = {value}")
            self.emit(f"if {s} is None: {s} = b''; {n} = {0 if compact else -1}")
            encoded = f"{s} = {s}.encode(); " if is_text else ""
            self.emit(f"else: {encoded}{n} = len({s}){one}")
        else:
            self.emit(f"{s} = {value}{'.encode()' if is_text else ''}")
            self.emit(f"{n} = len({s}){one}")
        if compact:
            self.compact(n)
        else:
            self.put("h" if is_text else "i", n)
            self.flush()
        self.emit(f"{self.append}({s})")

    def array(self, field: Field, value: str) -> None:
        items, n = self.unique("l"), self.unique("n")
        one = " + 1" if self.flexible else ""
        self.emit(f"{items} = {value}")
        if field.nullable(self.version):
            self.emit(f"if {items} is None: {items} = (); {n} = {0 if self.flexible else -1}")
            self.emit(f"else: {n} = len({items}){one}")
        else:
            self.emit(f"{n} = len({items}){one}")
        if self.flexible:
            self.compact(n)
        else:
            self.put("i", n)
            self.flush()
        code = SCALARS.get(field.type)
        if code is not None:
            self.scalars(code, items)
            return
        item = self.unique("e")
        self.emit(f"for {item} in {items}:")
        self.depth += 1
        if field.struct is not None:
            self.struct(field.struct, item)
            self.flush()
            if self.lines[-1].endswith(f"for {item} in {items}:"):
                self.emit("pass")
        else:
            self.blob(field._replace(array=False, nullable_since=None), item)
        self.depth -= 1

    def scalars(self, code: str, items: str) -> None:
        if code == "16s":
            self.emit(f"{self.append}(b''.join({items}))")
            return
        name = f"few_{code}"
        self.namespace[name] = tuple(Packed(f">{k}{code}").pack for k in range(_SMALL))
        n = self.unique("n")
        self.emit(f"{n} = len({items})")
        self.emit(f"if {n} < {_SMALL}: {self.append}({name}[{n}](*{items}))")
        self.emit(f"else: {self.append}(pack(f'>{{{n}}}{code}', *{items}))")

"""Which function answers which path. Pure; paths come as they were sent, percent signs and all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.fields import Query, invalid, read_json

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way to the function that answers it.

    Attributes:
        path: as it came, for passing the request on.
        names: what stands in the path where its template has a name.
        query: the parameters; the function takes what it knows and ends with `done`.
        forwarded: another broker has passed the request on, so that it is not passed on again.
    """

    method: str
    path: str
    names: Mapping[str, str]
    query: Query
    body: bytes = b""
    content_type: str = ""
    forwarded: bool = False

    def json(self) -> object:
        """The document in the body."""
        return read_json(self.body, self.content_type)

    def no_body(self) -> None:
        """There must be none."""
        if self.body:
            invalid(f"{self.method} takes no body")


Respond = Callable[["AdminNode", Call], Awaitable[Any]]


class Route(NamedTuple):
    """A method and a template such as `/admin/v1/groups/{groupId}`, and who answers (JSON-able)."""

    method: str
    template: str
    respond: Respond


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a request and the names in its path.

    Raises:
        Refused: 404 for an unknown path, 405 for a known one under another method.
    """
    parts = path.split("/")
    others = []
    for route in routes:
        names = _match(route.template.split("/"), parts)
        if names is None:
            continue
        if route.method == method:
            return route, names
        others.append(route.method)
    if others:
        raise Refused(ErrorCode.INVALID_REQUEST, f"this path takes {', '.join(sorted(others))}", status=405)
    raise Refused(ErrorCode.RESOURCE_NOT_FOUND, "there is nothing at this path")


def _match(template: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    names: dict[str, str] = {}
    for expected, part in zip(template, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            try:
                names[expected[1:-1]] = unquote(part, errors="strict")
            except UnicodeDecodeError:
                invalid("the path is not UTF-8")
        elif expected != part:
            return None
    return names

"""What an API server makes of a custom resource: prune, check the structure, evaluate the rules.

Works on the definitions as they are installed, so that a test of a refusal is a test of the shipped YAML.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from moldau_operator.seams.api_server import ApiError, Object

Schema: TypeAlias = Mapping[str, Any]
Evaluate: TypeAlias = Callable[[str, Any, Any], bool]
"""(rule, self, oldSelf or None) -> whether it holds."""

_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_RULES: Final = "x-kubernetes-validations"
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


class Definition:
    """One custom resource definition.

    Args:
        document: the CustomResourceDefinition.
        evaluate: of CEL; by default the `cel-python` package, which only tests have.
    """

    def __init__(self, document: Mapping[str, Any], evaluate: Evaluate | None = None) -> None:
        (version,) = document["spec"]["versions"]
        self.kind = str(document["spec"]["names"]["kind"])
        self._name = f"{self.kind}.{document['spec']['group']}"
        self._schema: Schema = version["schema"]["openAPIV3Schema"]
        self._evaluate = evaluate or evaluate_cel

    def admit(self, one: Object, old: Object | None) -> Object:
        """The resource as it is stored.

        Raises:
            ApiError: it is invalid (422); the message has every reason.
        """
        stored = {name: one[name] for name in ("apiVersion", "kind", "metadata")}
        rest = {name: value for name, value in one.items() if name not in stored}
        properties = {name: inner for name, inner in self._schema["properties"].items() if name not in stored}
        body: Schema = {**self._schema, "properties": properties}
        pruned = _prune(rest, body)
        before = None if old is None else {k: v for k, v in old.items() if k not in stored}
        problems = self._check(pruned, before, body, "")
        if problems:
            raise ApiError(422, f'{self._name} "{one["metadata"]["name"]}" is invalid: {"; ".join(problems)}')
        return {**stored, **pruned}

    @property
    def first_status(self) -> Object | None:
        """What a resource has as status before anybody wrote one."""
        default = self._schema["properties"]["status"].get("default")
        return None if default is None else dict(default)

    def check_declared(self, applied: Object, name: str) -> None:
        """What server-side apply asks of the fields in an apply, before any of them is looked at.

        Raises:
            ApiError: the definition lacks one (500, as the server answers); the message has their paths.
        """
        found = [
            f"{path}: field not declared in schema"
            for part in ("spec", "status")
            for path in undeclared(applied.get(part), self._schema["properties"][part], f".{part}")
        ]
        if found:
            listed = found[0] if len(found) == 1 else "errors:\n  " + "\n  ".join(found)
            raise ApiError(500, f"failed to create typed patch object ({name}; Kind={self.kind}): {listed}")

    def _check(self, value: Any, old: Any, schema: Schema, path: str) -> list[str]:
        problems = _check_value(value, schema, path)
        if problems:
            return problems
        if isinstance(value, dict):
            extra = schema.get("additionalProperties")
            for name, one in value.items():
                inner = schema.get("properties", {}).get(name, extra if isinstance(extra, Mapping) else None)
                if inner is not None:
                    before = old.get(name) if isinstance(old, dict) else None
                    problems += self._check(one, before, inner, f"{path}.{name}".lstrip("."))
        if isinstance(value, list) and "items" in schema:
            for index, one in enumerate(value):
                before = _counterpart(one, old, schema)
                problems += self._check(one, before, schema["items"], f"{path}[{index}]")
        return problems or self._rules(value, old, schema, path)

    def _rules(self, value: Any, old: Any, schema: Schema, path: str) -> list[str]:
        problems = []
        for rule in schema.get(_RULES, ()):
            if "oldSelf" in rule["rule"] and old is None:
                continue  # a transition rule: nothing to compare with
            holds = self._evaluate(rule["rule"], _visible(value, schema), _visible(old, schema))
            if not holds:
                problems.append(f"{path}: Invalid value: {rule['message']}")
        return problems


CHECKOUT: Final = Path(__file__).resolve().parents[3] / "crds"
"""Where the definitions lie in a checkout; a wheel has none."""


@functools.cache
def shipped_definitions(folder: Path = CHECKOUT) -> Mapping[str, Definition]:
    """The definitions that people install, by kind."""
    found = [Definition(yaml.safe_load(path.read_text())) for path in sorted(folder.glob("*.yaml"))]
    return {one.kind: one for one in found}


def undeclared(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Paths of `value` that the schema does not know: server-side apply refuses them, other writes lose them."""
    if isinstance(value, list) and "items" in schema:
        keys = schema.get("x-kubernetes-list-map-keys", ())
        found = []
        for number, one in enumerate(value):
            name = ",".join(f"{key}={json.dumps(one.get(key))}" for key in keys) or str(number)
            found += undeclared(one, schema["items"], f"{path}[{name}]")
        return found
    extra = schema.get("additionalProperties")
    if not isinstance(value, dict) or schema.get(_PRESERVE) or extra is True:
        return []
    known = schema.get("properties", {})
    found = []
    for name, inner in value.items():
        described = known.get(name, extra)
        if isinstance(described, Mapping):
            found += undeclared(inner, described, f"{path}.{name}")
        else:
            found.append(f"{path}.{name}")
    return found


def _prune(value: Any, schema: Schema) -> Any:
    """Without the fields that the schema does not know."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        kept = {}
        for name, one in value.items():
            inner = known.get(name, extra)
            if isinstance(inner, Mapping):
                kept[name] = _prune(one, inner)
            elif schema.get(_PRESERVE) or extra is True:
                kept[name] = one
        return kept
    if isinstance(value, list) and "items" in schema:
        return [_prune(one, schema["items"]) for one in value]
    return value


def _check_value(value: Any, schema: Schema, path: str) -> list[str]:
    """What is wrong with a value itself, whatever is in it."""
    expected = schema.get("type")
    if schema.get(_INT_OR_STRING):
        if isinstance(value, bool) or not isinstance(value, int | str):
            return [f"{path}: must be an integer or a string"]
    elif expected is not None:
        fits = isinstance(value, _TYPES[expected])
        if not fits or (isinstance(value, bool) and expected != "boolean"):
            return [f"{path}: must be of type {expected}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: Unsupported value: {value!r}: supported values: {schema['enum']}")
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)) or len(value) < schema.get("minLength", 0):
            found.append(
                f"{path}: its length must be in {schema.get('minLength', 0)}..{schema.get('maxLength')}"
            )
        if "pattern" in schema and not re.search(schema["pattern"], value, re.ASCII):
            found.append(f"{path}: should match {schema['pattern']!r}")
    elif isinstance(value, dict):
        found += [
            f"{path}.{name}: Required value".lstrip(".")
            for name in schema.get("required", ())
            if name not in value
        ]
        if len(value) > schema.get("maxProperties", len(value)):
            found.append(f"{path}: must have at most {schema['maxProperties']} properties")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{path}: must have {schema.get('minItems', 0)}..{schema.get('maxItems')} items")
        names = [_identity(one, schema) for one in value]
        if "x-kubernetes-list-type" in schema and len(set(names)) < len(names):
            found.append(f"{path}: Duplicate value")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            found.append(f"{path}: Invalid value: {value}: must be in {low}..{high}")
    return found


def _identity(one: Any, schema: Schema) -> str:
    keys = schema.get("x-kubernetes-list-map-keys")
    return repr([one.get(key) for key in keys] if keys else one)


def _counterpart(one: Any, old: Any, schema: Schema) -> Any:
    """The item that this one was before; only lists with keys can tell."""
    if not isinstance(old, list) or "x-kubernetes-list-map-keys" not in schema:
        return None
    return next((item for item in old if _identity(item, schema) == _identity(one, schema)), None)


def _visible(value: Any, schema: Schema) -> Any:
    """A value as rules see it: the fields that the schema names, under escaped names."""
    if isinstance(value, dict):
        known, extra = schema.get("properties", {}), schema.get("additionalProperties")
        return {
            _escape(name) if name in known else name: _visible(one, inner)
            for name, one in value.items()
            if isinstance(inner := known.get(name, extra), Mapping)
        }
    if isinstance(value, list):
        return [_visible(one, schema.get("items", {})) for one in value]
    return value


def _escape(name: str) -> str:
    for plain, escaped in _ESCAPES:
        name = name.replace(plain, escaped)
    return name


def evaluate_cel(rule: str, value: Any, old: Any) -> bool:
    """Whether a rule holds, by `cel-python`. A rule that fails to evaluate does not hold, as in a server."""
    return _evaluate_texts(rule, json.dumps(value), None if old is None else json.dumps(old))


@functools.lru_cache(maxsize=4096)
def _evaluate_texts(rule: str, value: str, old: str | None) -> bool:
    from celpy.adapter import json_to_cel
    from celpy.evaluation import CELEvalError

    context = {"self": json_to_cel(json.loads(value))}
    if old is not None:
        context["oldSelf"] = json_to_cel(json.loads(old))
    try:
        return bool(_program(rule).evaluate(context))
    except CELEvalError:
        return False


@functools.cache
def _program(rule: str) -> Any:
    import celpy

    environment = celpy.Environment()
    return environment.program(environment.compile(rule))

"""The custom resource definitions: what the API server will hold resources against is what the typed resources read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moldau_operator.testing.schema import undeclared

ROOT = Path(__file__).resolve().parents[3]
KINDS = {"cluster": "Cluster", "topic": "Topic", "consumergroup": "ConsumerGroup"}


def definition(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((ROOT / "crds" / f"{name}.yaml").read_text())
    return document


def version(name: str) -> dict[str, Any]:
    (only,) = definition(name)["spec"]["versions"]
    return only


def schema(name: str) -> dict[str, Any]:
    return version(name)["schema"]["openAPIV3Schema"]["properties"]


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_definition_has_what_people_use(name: str, kind: str) -> None:
    """A kind, short names, a status subresource, and at least three columns besides the age."""
    names = definition(name)["spec"]["names"]
    assert names["kind"] == kind
    assert names["shortNames"]
    assert definition(name)["spec"]["scope"] == "Namespaced"
    only = version(name)
    assert only["name"] == "v1alpha1"
    assert "status" in only["subresources"]
    assert len([column for column in only["additionalPrinterColumns"] if column["name"] != "Age"]) >= 3


def test_cluster_is_scaled_by_its_replicas() -> None:
    """`kubectl scale` and autoscalers write spec.replicas."""
    assert version("cluster")["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"


@pytest.mark.parametrize("name", KINDS)
def test_definition_sets_no_defaults_in_spec(name: str) -> None:
    """What is read back equals what was applied, so that GitOps tools see no difference."""

    def defaults(node: Any) -> bool:
        if isinstance(node, dict):
            return "default" in node or any(defaults(inner) for inner in node.values())
        return isinstance(node, list) and any(defaults(inner) for inner in node)

    assert not defaults(schema(name)["spec"])


def test_the_quickstart_is_known_to_its_definitions() -> None:
    """No field of the example would be pruned."""
    by_kind = {kind: name for name, kind in KINDS.items()}
    for document in yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text()):
        spec = schema(by_kind[document["kind"]])["spec"]
        assert undeclared(document["spec"], spec) == []


@pytest.mark.parametrize("name", KINDS)
def test_rules_say_what_to_do(name: str) -> None:
    """Every rule has a message for the person who meets it."""

    def rules(node: Any) -> list[dict[str, str]]:
        if isinstance(node, dict):
            own = node.get("x-kubernetes-validations", [])
            return [*own, *(rule for inner in node.values() for rule in rules(inner))]
        if isinstance(node, list):
            return [rule for inner in node for rule in rules(inner)]
        return []

    found = rules(schema(name))
    assert found
    assert all(len(rule["message"]) > 15 for rule in found)


@pytest.mark.parametrize("name", KINDS)
def test_chart_and_single_file_have_the_same_definition(name: str) -> None:
    """What `helm install` and `kubectl apply -f` bring: a copy that was not made anew refuses new fields."""
    assert (ROOT / "charts/moldau/crds" / f"{name}.yaml").read_bytes() == (
        ROOT / "crds" / f"{name}.yaml"
    ).read_bytes()
    single = yaml.safe_load_all((ROOT / "deploy/moldau.yaml").read_text())
    assert definition(name) in list(single), "make manifests"

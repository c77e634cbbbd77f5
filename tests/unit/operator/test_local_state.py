"""Instances on disk: which one is meant, who holds it, what a wipe removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moldau_operator.adapters.ports import NodePorts, write_ports
from moldau_operator.errors import InstanceError
from moldau_operator.local.background import stopped
from moldau_operator.local.state import (
    Instance,
    choose,
    data_root,
    default_bootstrap,
    folder_for,
    hold,
    prepare,
    read_instance,
    wipe,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data root, in a folder of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "moldau"


def make(folder: Path, cluster: str = "demo", port: int | None = None) -> Instance:
    """An instance with one node on its first port."""
    instance = prepare(folder, cluster, port)
    node = folder / "nodes" / "0"
    node.mkdir(parents=True, exist_ok=True)
    first = instance.first_port
    write_ports(node / "ports.json", first, NodePorts(kafka=first, internal=2, controller=3, http=8092))
    return instance


def test_the_data_root_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Absolute ones only, says the specification."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert data_root() == tmp_path / ".local" / "share" / "moldau"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_root() == Path("/data/moldau")
    assert folder_for("demo", None) == Path("/data/moldau/demo")
    assert folder_for("demo", Path("~/here")) == tmp_path / "here"


def test_the_only_instance_is_meant(root: Path) -> None:
    """Also while it is stopped."""
    with pytest.raises(InstanceError, match="there is no instance in"):
        choose(None)
    instance = make(root / "demo")
    assert choose(None) == instance
    assert default_bootstrap() == "127.0.0.1:9092"


def test_of_several_the_running_one_is_meant(root: Path) -> None:
    """Without one, a choice is asked for and the candidates are named."""
    one, _two = make(root / "one", "one"), make(root / "two", "two", 9500)
    with pytest.raises(InstanceError, match=f"choose one with --data-dir: {root / 'one'}, {root / 'two'}"):
        choose(None)
    assert default_bootstrap() is None
    with hold(one):
        assert choose(None) == one
        assert default_bootstrap() == "127.0.0.1:9092"


def test_a_named_folder_must_hold_an_instance(tmp_path: Path) -> None:
    """The message says how to make one."""
    with pytest.raises(InstanceError, match="make one with `moldau up -f FILE --data-dir"):
        choose(tmp_path)


def test_only_one_process_holds_an_instance(tmp_path: Path) -> None:
    """And whoever looks sees that it runs, and which process it is."""
    instance = make(tmp_path / "i")
    assert not instance.is_running()
    with hold(instance):
        assert instance.is_running()
        assert instance.keeper() is not None
        with pytest.raises(InstanceError, match="is in use by another process"), hold(instance):
            pass
        assert instance.is_running(), "a failed attempt must not let go of the other's lock"
    assert (instance.is_running(), instance.keeper()) == (False, None)


def test_an_instance_is_not_made_among_strangers(tmp_path: Path) -> None:
    """Wiping it later could take them along."""
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InstanceError, match=r"is not empty \(it holds letters.txt\)"):
        prepare(tmp_path, "demo", None)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_an_instance_belongs_to_one_cluster(tmp_path: Path) -> None:
    """Another YAML needs another folder."""
    make(tmp_path / "i")
    with pytest.raises(InstanceError, match="holds cluster demo, not other"):
        prepare(tmp_path / "i", "other", None)


def test_the_first_port_is_kept_until_another_is_asked_for(tmp_path: Path) -> None:
    """9092 unless said."""
    assert prepare(tmp_path / "i", "demo", None).first_port == 9092
    assert prepare(tmp_path / "i", "demo", 9500).first_port == 9500
    instance = prepare(tmp_path / "i", "demo", None)
    assert instance.first_port == 9500
    with hold(instance):
        assert prepare(tmp_path / "i", "demo", 9600).first_port == 9500, "it runs on the ports it has"


def test_a_damaged_instance_says_what_to_do(tmp_path: Path) -> None:
    """The data is not lost with its label."""
    make(tmp_path / "i")
    (tmp_path / "i" / "instance.json").write_text("{")
    with pytest.raises(
        InstanceError, match="is damaged; remove it, and run `moldau up` again to keep the data"
    ):
        read_instance(tmp_path / "i")
    (tmp_path / "i" / "instance.json").unlink()
    assert prepare(tmp_path / "i", "demo", None).cluster == "demo"


def test_an_instance_of_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    """Said in words."""
    make(tmp_path / "i")
    (tmp_path / "i" / "instance.json").write_text('{"format": 2}')
    with pytest.raises(InstanceError, match="has format 2; this moldau knows format 1"):
        read_instance(tmp_path / "i")


def test_a_wipe_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    """Files of others stay, and so does the folder then."""
    instance = make(tmp_path / "i")
    (tmp_path / "i" / "notes.txt").write_text("mine")
    wipe(instance)
    assert [path.name for path in (tmp_path / "i").iterdir()] == ["notes.txt"]
    other = make(tmp_path / "j")
    wipe(other)
    assert not (tmp_path / "j").exists()


def test_a_wipe_does_not_follow_links(tmp_path: Path) -> None:
    """A data folder that was moved elsewhere and linked loses its link, not its files."""
    instance = make(tmp_path / "i")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "i" / "nodes").rename(elsewhere)
    (tmp_path / "i" / "nodes").symlink_to(elsewhere)
    wipe(instance)
    assert (elsewhere / "0" / "ports.json").exists()


def test_a_stopped_instance_shows_its_nodes_as_down(tmp_path: Path) -> None:
    """With the addresses they will have again."""
    snapshot = stopped(make(tmp_path / "i"))
    assert snapshot.as_json() == {
        "bootstrap": "127.0.0.1:9092",
        "nodes": [
            {
                "id": 0,
                "pid": None,
                "kafka": "127.0.0.1:9092",
                "http": "127.0.0.1:8092",
                "state": "down",
                "roles": [],
                "leaders": None,
                "replicas": None,
                "in_sync": None,
            }
        ],
        "topics": [],
        "groups": [],
        "partitions": None,
        "quorum": None,
    }

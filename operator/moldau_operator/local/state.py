"""Where instances live on this machine, which one is meant, and who holds it. Light to import."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moldau_operator.adapters.files import read_json, write_json
from moldau_operator.adapters.ports import HOST, NodePorts, read_ports
from moldau_operator.errors import InstanceError

INSTANCE_FILE: Final = "instance.json"
LOCK_FILE: Final = "lock"
SOCKET_FILE: Final = "control.sock"
MEMORY_FILE: Final = "memory.json"
RESOURCES_FILE: Final = "resources.yaml"
LOG_FILE: Final = "supervisor.log"
NODES_FOLDER: Final = "nodes"

OURS: Final = (
    NODES_FOLDER,
    RESOURCES_FILE,
    MEMORY_FILE,
    SOCKET_FILE,
    LOG_FILE,
    f"{LOG_FILE}.1",
    LOCK_FILE,
    INSTANCE_FILE,
)
"""Everything we ever put into an instance's folder, the marker last; `wipe` removes this and nothing else."""

FORMAT: Final = 1
PORT_DEFAULT: Final = 9092


@dataclass(frozen=True, slots=True)
class Instance:
    """A local cluster that was brought up at least once."""

    folder: Path
    cluster: str
    first_port: int

    def nodes(self) -> dict[int, NodePorts]:
        """The ports of its nodes, by id, whether they run or not."""
        found: dict[int, NodePorts] = {}
        for path in self.folder.glob(f"{NODES_FOLDER}/*/ports.json"):
            ports = read_ports(path)
            if ports is not None and path.parent.name.isdigit():
                found[int(path.parent.name)] = ports
        return dict(sorted(found.items()))

    def bootstrap(self) -> str:
        """host:port of every node, comma-separated; empty before the first start."""
        return ",".join(f"{HOST}:{ports.kafka}" for ports in self.nodes().values())

    def is_running(self) -> bool:
        """Whether a process looks after it now."""
        try:
            descriptor = os.open(self.folder / LOCK_FILE, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def keeper(self) -> int | None:
        """The id of the process that looks after it, if one does."""
        if not self.is_running():
            return None
        try:
            return int((self.folder / LOCK_FILE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


def data_root() -> Path:
    """Where instances without a --data-dir live ($XDG_DATA_HOME/moldau)."""
    base = os.environ.get("XDG_DATA_HOME")
    if base and Path(base).is_absolute():  # relative ones are to be ignored, says the XDG specification
        return Path(base) / "moldau"
    return Path.home() / ".local" / "share" / "moldau"


def folder_for(cluster: str, data_dir: Path | None) -> Path:
    """The folder of a cluster's instance: `data_dir` if it is given."""
    return (data_dir if data_dir is not None else data_root() / cluster).expanduser().absolute()


def read_instance(folder: Path) -> Instance | None:
    """The instance in a folder, if there is one.

    Raises:
        InstanceError: the folder holds one that this version cannot use.
    """
    path = folder / INSTANCE_FILE
    try:
        data = read_json(path)
        if data is None:
            return None
        if data["format"] != FORMAT:
            raise InstanceError(f"{path} has format {data['format']}; this moldau knows format {FORMAT}")
        return Instance(folder, str(data["cluster"]), int(data["first_port"]))
    except NotADirectoryError:
        raise InstanceError(f"{folder} is not a folder; choose another --data-dir") from None
    except PermissionError:
        raise InstanceError(f"{path} cannot be read; use your own --data-dir") from None
    except (ValueError, KeyError, TypeError):
        raise InstanceError(
            f"{path} is damaged; remove it, and run `moldau up` again to keep the data"
        ) from None


def instances(root: Path | None = None) -> list[Instance]:
    """All instances below the data root, by name."""
    found = []
    for path in sorted((root or data_root()).glob(f"*/{INSTANCE_FILE}")):
        try:
            instance = read_instance(path.parent)
        except InstanceError:
            continue  # named when it is asked for
        if instance is not None:
            found.append(instance)
    return found


def choose(data_dir: Path | None) -> Instance:
    """The instance that is meant: the one named, else the only one that runs, else the only one there is.

    Raises:
        InstanceError: there is none, or more than one could be meant.
    """
    if data_dir is not None:
        folder = data_dir.expanduser().absolute()
        instance = read_instance(folder)
        if instance is None:
            raise InstanceError(
                f"there is no instance in {folder}; make one with `moldau up -f FILE --data-dir {data_dir}`"
            )
        return instance
    known = instances()
    if not known:
        raise InstanceError(
            f"there is no instance in {data_root()}; make one with `moldau up -f FILE`, or name --data-dir"
        )
    running = [instance for instance in known if instance.is_running()]
    candidates = running or known
    if len(candidates) > 1:
        names = ", ".join(str(instance.folder) for instance in candidates)
        which = "several instances run" if running else "there are several instances"
        raise InstanceError(f"{which}; choose one with --data-dir: {names}")
    return candidates[0]


def default_bootstrap() -> str | None:
    """host:port[,host:port...] of the local cluster a command without an address means; None if none is."""
    try:
        return choose(None).bootstrap() or None
    except (InstanceError, OSError):
        return None


def prepare(folder: Path, cluster: str, first_port: int | None) -> Instance:
    """The instance in a folder, made if it is not there; another first port is noted unless it runs now.

    Hold its lock before anything else is done with it.

    Raises:
        InstanceError: the folder belongs to something else, or cannot be made.
    """
    instance = read_instance(folder)
    if instance is not None and instance.cluster != cluster:
        raise InstanceError(
            f"{folder} holds cluster {instance.cluster}, not {cluster}; choose another --data-dir, or remove it with "
            f"`moldau down --wipe --data-dir {folder}`"
        )
    if instance is not None and (first_port in {None, instance.first_port} or instance.is_running()):
        return instance
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        strangers = sorted({path.name for path in folder.iterdir()} - set(OURS))
        if instance is None and strangers:
            raise InstanceError(
                f"{folder} is not empty (it holds {strangers[0]}) and is no instance; choose an empty --data-dir"
            )
        made = Instance(folder, cluster, first_port or PORT_DEFAULT)
        write_json(
            folder / INSTANCE_FILE, {"format": FORMAT, "cluster": cluster, "first_port": made.first_port}
        )
    except OSError as error:
        raise InstanceError(
            f"{folder} cannot be used: {error.strerror}; choose another --data-dir"
        ) from error
    return made


@contextmanager
def hold(instance: Instance) -> Iterator[None]:
    """Hold the instance for this process alone; the kernel lets go when the process ends, however it ends.

    Raises:
        InstanceError: another process holds it.
    """
    descriptor = os.open(instance.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceError(
                f"{instance.folder} is in use by another process; see `moldau status`"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def wipe(instance: Instance) -> None:
    """Remove everything an instance left on this machine. Whoever calls holds it.

    Only what we made is removed, and the folder itself only if nothing else is in it.
    """
    for name in OURS:
        path = instance.folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(instance.folder.iterdir()):
        instance.folder.rmdir()

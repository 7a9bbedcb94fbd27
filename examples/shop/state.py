"""The state folder: the truth that the services start from. Every edit of a service's settings keeps the one before."""

import hashlib
import json
import random
import socket
import tempfile
from pathlib import Path
from typing import cast

from examples.shop.layout import MEMORY_LIMIT_MB, SERVICES, Json, JsonValue

HOST = "127.0.0.1"
# Below the range from which Linux and macOS take the ports of outgoing connections, so that a restarting service finds
# its port free, and no client can connect to itself.
PORTS = range(20_000, 32_000)


class State:
    """One state folder. All paths of the shop are here."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.data = self.root / "data"
        self.logs = self.root / "logs"
        self.run = self.root / "run"
        self.certificates = self.root / "certificates"
        self.releases = self.root / "releases"
        self.control = self.root / "control.json"

    def prepare(self, seed: int) -> None:
        """Create what is missing, and choose other ports for those that somebody else took meanwhile."""
        for folder in (self.data, self.logs, self.run, self.certificates, self.releases):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.run.iterdir():
            leftover.unlink()
        if not (self.root / "storefront").exists():
            self._write_first_configs(seed)
        self._replace_taken_ports()

    def read_config(self, service: str) -> Json:
        return cast(Json, json.loads((self.root / service / "config.json").read_text()))

    def write_config(self, service: str, config: Json) -> None:
        """Put `config` in force at the next restart, and keep the one before for `restore_config`."""
        history = self._read_history(service)
        history.append(self.read_config(service))
        self._write_history(service, history)
        _write_json(self.root / service / "config.json", config)
        self._undone(service).unlink(missing_ok=True)

    def restore_config(self, service: str) -> Json | None:
        """Go back one step: return the settings that are in force again, or None when there is no step to go back."""
        history = self._read_history(service)
        if not history:
            return None
        config = history.pop()
        _write_json(self._undone(service), self.read_config(service))
        _write_json(self.root / service / "config.json", config)
        self._write_history(service, history)
        return config

    def repeat_config(self, service: str) -> Json | None:
        """Take the last `restore_config` back: return the settings that are in force again, or None when there is none."""
        if not self._undone(service).exists():
            return None
        config = cast(Json, json.loads(self._undone(service).read_text()))
        self.write_config(service, config)
        return config

    def previous_config(self, service: str) -> Json | None:
        """The settings that `restore_config` would put in force."""
        history = self._read_history(service)
        return history[-1] if history else None

    def port(self, service: str) -> int:
        return cast(int, self.read_config(service)["port"])

    def ready_file(self, service: str, pid: int) -> Path:
        return self.run / f"{service}-{pid}.ready"

    def _write_first_configs(self, seed: int) -> None:
        ports = dict(zip(SERVICES, _free_ports(len(SERVICES)), strict=True))
        for service, layout in SERVICES.items():
            (self.root / service).mkdir()
            peers: Json = {peer: {"host": HOST, "port": ports[peer]} for peer in layout.peers}
            config: Json = {
                "version": layout.version,
                "instance": instance_id(service, layout.version, seed),
                "node": layout.node,
                "port": ports[service],
                "memory_limit_mb": MEMORY_LIMIT_MB,
                "peers": peers,
                **layout.settings,
            }
            _write_json(self.root / service / "config.json", config)
            self._write_history(service, [])

    def _replace_taken_ports(self) -> None:
        taken = [port for port in map(self.port, SERVICES) if not _is_free(port)]
        new = dict(zip(taken, _free_ports(len(taken), avoid={self.port(service) for service in SERVICES}), strict=True))
        if new:
            for service in SERVICES:
                config = cast(Json, _with_ports(self.read_config(service), new))
                _write_json(self.root / service / "config.json", config)
                self._write_history(service, [cast(Json, _with_ports(c, new)) for c in self._read_history(service)])

    def _undone(self, service: str) -> Path:
        return self.releases / f"{service}.undone.json"

    def _read_history(self, service: str) -> list[Json]:
        return cast(list[Json], json.loads((self.releases / f"{service}.json").read_text()))

    def _write_history(self, service: str, history: list[Json]) -> None:
        _write_json(self.releases / f"{service}.json", cast(list[JsonValue], history))


def instance_id(service: str, version: str, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}/{service}/{version}".encode()).hexdigest()
    return f"{service}-{digest[:9]}"


def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    return _free_ports(1)[0]


def _free_ports(count: int, avoid: set[int] | None = None) -> list[int]:
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if port not in (avoid or set()) and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _with_ports(value: JsonValue, new: dict[int, int]) -> JsonValue:
    if isinstance(value, dict):
        return {
            key: new.get(item, item) if key == "port" and isinstance(item, int) else _with_ports(item, new)
            for key, item in value.items()
        }
    return value


def _write_json(path: Path, value: JsonValue) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".part") as part:
        json.dump(value, part, indent=2)
    Path(part.name).replace(path)

"""The configuration of a shipper, `ship.yaml`: what is read, as what, and where it goes.

Read with msgspec, not pydantic: this runs on nodes, and the whole program should stay small there.
"""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from domain.errors import SettingsError
from ingest.line_rules import LineRuleConfig, build_rule
from ingest.shipping.assembly import Naming
from ingest.shipping.files import FileOptions, FileSource
from ingest.shipping.filtering import Action, Filter
from ingest.shipping.formats import Form
from ingest.shipping.journal import JournalOptions, JournalSource
from ingest.shipping.line import Attribute
from ingest.shipping.naming import name_container
from ingest.shipping.pipe import PipeSource
from ingest.shipping.source import Source
from ingest.shipping.zones import read_zone

type Start = Literal["beginning", "end"]

_CONTAINER_PATHS = {
    "kubernetes": ("/var/log/pods/*/*/*.log",),
    "docker": ("/var/lib/docker/containers/*/*-json.log",),
}
_STDIN = 0


class _Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str = ""
    service: str = ""
    environment: str = ""
    attributes: dict[str, Attribute] = {}


class FilesConfig(_Given, frozen=True, tag_field="kind", tag="files", kw_only=True):
    """Files by patterns. Without `service` a file's is its name without its ending."""

    paths: list[str]
    exclude: list[str] = []
    format: Literal["plain", "syslog", "cri", "docker"] = "plain"
    zone: str = ""
    start: Start = "end"
    join: bool = True
    parse: bool = True
    encoding: str = "utf-8"
    join_seconds: float = 1.0
    partial_seconds: float = 10.0
    max_open: int = 256


class ContainersConfig(_Given, frozen=True, tag_field="kind", tag="containers", kw_only=True):
    """Logs of containers, written to files by Kubernetes or Docker; `paths` where they are not in the usual place."""

    runtime: Literal["kubernetes", "docker"] = "kubernetes"
    paths: list[str] = []
    exclude: list[str] = []
    start: Start = "end"
    join: bool = True
    parse: bool = True
    join_seconds: float = 1.0
    max_open: int = 256


class JournalConfig(_Given, frozen=True, tag_field="kind", tag="journal", kw_only=True):
    """systemd's journal; `arguments` are added to journalctl's."""

    units: list[str] = []
    arguments: list[str] = []
    start: Start = "end"


class StdinConfig(_Given, frozen=True, tag_field="kind", tag="stdin", kw_only=True):
    """Standard input."""

    format: Literal["plain", "syslog", "cri", "docker"] = "plain"
    zone: str = ""
    join: bool = True
    parse: bool = True
    encoding: str = "utf-8"


type SourceConfig = FilesConfig | ContainersConfig | JournalConfig | StdinConfig


class RuleConfig(LineRuleConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule; everything that it names must hold, and the first rule that holds decides."""

    action: Action


class BatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a batch is sent, and how much may wait for the server."""

    bytes: int = 1024 * 1024
    lines: int = 10_000
    seconds: float = 1.0
    outbox_bytes: int = 64 * 1024 * 1024


class ShipConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of `ship.yaml`."""

    server: str = ""
    key_file: str = ""
    ca_file: str = ""
    state: str = ""
    environment: str = ""
    node: str = ""
    sources: list[SourceConfig] = []
    filters: list[RuleConfig] = []
    batch: BatchConfig = BatchConfig()


def load_config(path: Path) -> ShipConfig:
    """Read a configuration. Raises SettingsError that says what is wrong and where."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(given if given is not None else {}, ShipConfig)
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not YAML: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise SettingsError(f"{path}: {exc}. docs/ship.md lists what may stand there.") from exc


def build_sources(config: ShipConfig, *, once: bool = False) -> list[Source]:
    """Build the sources of a configuration. Raises SettingsError where there are none or two have one name."""
    if not config.sources:
        raise SettingsError("There is nothing to ship: name files, or sources in the file of --config.")
    node = config.node or socket.gethostname()
    sources = [_build_source(given, node, once=once) for given in config.sources]
    twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    if twice:
        raise SettingsError(f"Two sources are called {twice[0]!r}: give each a `name` of its own.")
    return sources


def build_filter(config: ShipConfig) -> Filter:
    """Build the filter of a configuration. Raises SettingsError for a rule that says nothing or cannot be read."""
    return Filter([(build_rule(given), given.action) for given in config.filters])


def _build_source(given: SourceConfig, node: str, *, once: bool) -> Source:
    naming = Naming(given.service, node, given.environment, dict(given.attributes), is_guess=not given.service)
    match given:
        case FilesConfig():
            _check_encoding(given.encoding)
            return FileSource(
                given.name or f"files {given.paths[0] if given.paths else ''}", _files(given, naming), once=once
            )
        case ContainersConfig():
            return FileSource(given.name or f"containers {given.runtime}", _containers(given, naming), once=once)
        case JournalConfig():
            options = JournalOptions(naming, given.units, given.arguments, given.start == "end")
            return JournalSource(given.name or "journal", options, once=once)
        case StdinConfig():
            _check_encoding(given.encoding)
            named = naming if naming.service else Naming("stdin", node, given.environment, dict(given.attributes))
            return PipeSource(
                given.name or "stdin",
                _STDIN,
                named,
                form=given.format,
                joins=given.join,
                parses=given.parse,
                encoding=given.encoding,
                zone=read_zone(given.zone) if given.zone else None,
            )


def _files(given: FilesConfig, naming: Naming) -> FileOptions:
    def name_file(path: str) -> Naming:
        path = _printable(path)
        service = naming.service or Path(path).name.split(".")[0] or "unknown_service"
        attributes: dict[str, Attribute] = {"log.file.path": path, **naming.attributes}
        return Naming(service, naming.node, naming.environment, attributes, naming.is_guess)

    form: Form = given.format
    return FileOptions(
        patterns=given.paths,
        name_file=name_file,
        excluded=given.exclude,
        form=form,
        from_end=given.start == "end",
        joins=given.join,
        parses=given.parse,
        encoding=given.encoding,
        join_seconds=given.join_seconds,
        partial_seconds=given.partial_seconds,
        max_open=given.max_open,
        zone=read_zone(given.zone) if given.zone else None,
    )


def _containers(given: ContainersConfig, naming: Naming) -> FileOptions:
    def name_file(path: str) -> Naming:
        path = _printable(path)
        service, attributes = name_container(path)
        service = naming.service or service or Path(path).name.split(".")[0]
        return Naming(service, naming.node, naming.environment, {**attributes, **naming.attributes}, naming.is_guess)

    return FileOptions(
        patterns=given.paths or _CONTAINER_PATHS[given.runtime],
        name_file=name_file,
        excluded=given.exclude,
        form=None,
        from_end=given.start == "end",
        joins=given.join,
        parses=given.parse,
        join_seconds=given.join_seconds,
        max_open=given.max_open,
    )


def _printable(path: str) -> str:
    """Return a path as text that can be sent: a file's name is any bytes."""
    return path.encode("utf-8", "backslashreplace").decode()


def _check_encoding(encoding: str) -> None:
    """Refuse an encoding in which a newline is not the byte 10."""
    try:
        fits = "\n".encode(encoding) == b"\n"
    except LookupError:
        raise SettingsError(f"There is no encoding {encoding!r}.") from None
    if not fits:
        raise SettingsError(f"Files in {encoding} cannot be followed: a newline is not one byte there.")

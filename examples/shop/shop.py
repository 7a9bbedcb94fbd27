"""The running shop: its processes, its customers, what operators do to it, and the faults."""

import http.client
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import quote

from examples.shop import certificates, stock
from examples.shop.control import Control
from examples.shop.faults import FAULTS
from examples.shop.hooks import Change, ChangeKind, Hooks
from examples.shop.layout import SERVICES, Json, JsonValue
from examples.shop.load import Load, RouteStats, Visit
from examples.shop.state import HOST, State, instance_id, unused_port
from examples.shop.supervisor import Supervisor

TOPIC = "orders.placed"
RELEASES = Path(__file__).parent / "releases"


class ShopError(Exception):
    """The shop cannot do that; the message says why."""


class Shop:
    """Ten service processes on one state folder.

    Blocking and thread-safe in this sense: `start` and `stop` once each, the rest from any thread. Telemetry goes to
    `otlp_endpoint` (OTLP/HTTP, protobuf) with `headers`; so do the two web hooks' posts. Everything is optional.
    """

    def __init__(
        self,
        state_dir: Path | str,
        *,
        otlp_endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        changes_url: str | None = None,
        events_url: str | None = None,
        environment: str = "shop",
        seed: int = 1,
        on_failure: Callable[[Visit], None] | None = None,
    ) -> None:
        self.state = State(Path(state_dir))
        self.seed = seed
        self.hooks = Hooks(changes_url, events_url, headers or {})
        environ = _child_environment(otlp_endpoint, headers or {}, environment)
        self.supervisor = Supervisor(self.state, environ, self.hooks.report)
        self._load = Load(self._storefront_port, seed, on_failure)
        self._control = Control(self.state.control, self.operate, (ShopError, TimeoutError))

    @classmethod
    def watched_by(
        cls, address: str, state_dir: Path | str, *, headers: Mapping[str, str], environment: str, seed: int
    ) -> "Shop":
        """Return a shop that tells the Causegraph at an address of its telemetry, its deploys and its processes."""
        return cls(
            state_dir,
            otlp_endpoint=address,
            headers=headers,
            changes_url=f"{address}/ingest/changes?environment={environment}",
            events_url=f"{address}/ingest/events?environment={environment}",
            environment=environment,
            seed=seed,
        )

    def __enter__(self) -> "Shop":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- running -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Prepare the state folder and start all services; a few seconds. Raises TimeoutError."""
        self.state.prepare(self.seed)
        certificates.ensure(self.state.certificates)
        stock.ensure(self.state.data / "inventory.db")
        try:
            self.supervisor.start()
        except BaseException:  # also Ctrl-C: no process may be left
            self.supervisor.stop()
            raise
        self._control.start()

    def stop(self) -> None:
        """Send the customers home, stop all services, and send what telemetry is left."""
        self._load.stop()
        self._control.stop()
        self.supervisor.stop()
        self.hooks.close()

    def load(self, rps: float) -> None:
        """Let `rps` customers per second in from now on; 0 pauses."""
        self._load.start(rps)

    def stats(self) -> dict[str, RouteStats]:
        """The customers' requests so far, by route (`POST /checkout`, `GET /products`, `GET /recommendations`)."""
        return self._load.stats()

    def pids(self) -> list[int]:
        """The processes of all services."""
        return [pid for managed in self.supervisor.services.values() for pid in managed.pids()]

    # -- faults --------------------------------------------------------------------------------------------------------

    def inject(self, name: str) -> datetime:
        """Break something, as it happens in earnest; return the time of the change that did it, once it is in force."""
        match name:
            case "slow-dependency":
                at = self.deploy(
                    "inventory", "3.2.0", "inventory 3.2.0: stock ledger knows the order of a return", "ci"
                )
                self._tune("catalog", "page_size", 36, "config", "catalog: 36 products per page", "m.ortiz")
            case "pool-exhausted":
                self._tune("catalog", "page_size", 30, "config", "catalog: 30 products per page", "m.ortiz")
                at = self._tune(
                    "orders", "pool_size", 2, "config", "orders: pool_size 8 -> 2, save connections", "j.lindqvist"
                )
            case "bad-deploy":
                at = self.deploy("payment", "2.4.0", "payment 2.4.0: gift cards in multiple currencies", "ci")
            case "wrong-port":
                summary = "payment: bank endpoint moved to the new gateway"
                at = self._tune("payment", "peers.bank.port", unused_port(), "config", summary, "j.lindqvist")
                self._deploy_decoy()
            case "memory-leak":
                at = self.deploy("catalog", "1.9.0", "catalog 1.9.0: rendered product pages are reused", "ci")
                self._tune("recommendations", "similar_items", 8, "flag", "flag wide-carousel on", "m.ortiz")
            case "poison-message":
                self._deploy_decoy()
                at = self._send_foreign_order()
            case "cert-expired":
                self._tune("recommendations", "similar_items", 8, "flag", "flag wide-carousel on", "m.ortiz")
                at = self._expire_certificate()
            case "noisy-neighbour":
                summary = "recommendations: profile_lookups 1 -> 10, try more snapshots"
                at = self._tune("recommendations", "profile_lookups", 10, "config", summary, "m.ortiz")
            case "none":
                at = self._deploy_decoy()
            case _:
                raise ShopError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
        return at

    def mend(self, name: str, actor: str = "operator") -> None:
        """Do what the fault's table entry says an operator would do; return when it is done."""
        if name not in FAULTS:
            raise ShopError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
        if FAULTS[name].mend:
            self.operate(FAULTS[name].mend.split(), actor)

    # -- what operators do ---------------------------------------------------------------------------------------------

    def operate(self, arguments: list[str], actor: str) -> str:
        """Carry out one operator's command, such as `["rollback", "payment"]`; return what to print."""
        match arguments:
            case ["status"]:
                return self.status()
            case ["restart", service]:
                self.restart(service)
                return f"{service} restarted"
            case ["rollback", service]:
                return self.rollback(service, actor)
            case ["roll-forward", service]:
                return self.roll_forward(service, actor)
            case ["config", service]:
                return self.show_config(service)
            case ["certificate"]:
                return certificates.describe(self.state.certificates)
            case ["indexes"]:
                return stock.describe_indexes(self.state.data / "inventory.db")
            case ["queue-head"]:
                return self.show_head()
            case ["deploy", service, version, *words]:
                self.deploy(service, version, " ".join(words) or f"{service} {version}", actor)
                return f"{service} {version} deployed"
            case ["set-config", service, key, text]:
                self.set_config(service, key, _parse(text), actor)
                return f"{service}: {key} = {text}"
            case ["renew-cert"]:
                return self.renew_certificate(actor)
            case ["create-index"]:
                return self.create_index(actor)
            case ["queue"]:
                return self._list_messages()
            case ["drop-message", message]:
                return self.drop_message(message)
            case ["inject", name]:
                return f"{name} since {self.inject(name).isoformat()}"
            case ["mend", name]:
                self.mend(name, actor)
                return f"{name} mended"
            case _:
                raise ShopError(f"no such command: {' '.join(arguments)}")

    def status(self) -> str:
        """A table of the services, and the queue's first message."""
        lines = [f"{'service':16} {'version':8} {'node':7} {'port':>6} {'pid':>8} {'restarts':>8} {'MiB':>5}  ready"]
        for service, managed in sorted(self.supervisor.services.items()):
            config = self.state.read_config(service)
            pid = managed.current.pid if managed.current else 0
            lines.append(
                f"{service:16} {config['version']!s:8} {config['node']!s:7} {config['port']!s:>6} {pid:>8} "
                f"{managed.restarts:>8} {self.supervisor.resident_mb(service):>5}  {'yes' if managed.ready else 'no'}"
            )
        return "\n".join([*lines, self._list_messages()])

    def restart(self, service: str) -> None:
        self._require(service)
        self.supervisor.restart(service)

    def deploy(self, service: str, version: str, summary: str, actor: str) -> datetime:
        """Run the release's migration, if it has one, then start the release."""
        self._require(service)
        at = self.hooks.report(Change(service, "deploy", summary, actor, version))
        script = RELEASES / f"{service}_{version.replace('.', '_')}.sql"
        if script.exists():
            stock.migrate(self.state.data / f"{service}.db", script)
        instance = instance_id(service, version, self.seed)
        self.state.write_config(service, {**self.state.read_config(service), "version": version, "instance": instance})
        self.supervisor.restart(service)
        return at

    def rollback(self, service: str, actor: str) -> str:
        """Undo the last deploy or edit of a service's settings."""
        self._require(service)
        before = self.state.read_config(service)
        config = self.state.restore_config(service)
        if config is None:
            raise ShopError(f"{service} has nothing to roll back to")
        version = str(config["version"])
        restored = f"{service} {version}" if before["version"] != version else f"the previous settings of {service}"
        self.hooks.report(Change(service, "rollback", f"roll back to {restored}", actor, version))
        self.supervisor.restart(service)
        return f"rolled back to {restored}"

    def roll_forward(self, service: str, actor: str) -> str:
        """Take the last rollback of a service back."""
        self._require(service)
        config = self.state.repeat_config(service)
        if config is None:
            raise ShopError(f"{service} was not rolled back last")
        version = str(config["version"])
        self.hooks.report(Change(service, "deploy", f"{service} {version} again", actor, version))
        self.supervisor.restart(service)
        return f"{service} {version} is back"

    def show_config(self, service: str) -> str:
        """The settings of a service, and those that a rollback would put in force."""
        self._require(service)
        before = self.state.previous_config(service)
        told = "nothing to roll back to" if before is None else json.dumps(before, sort_keys=True)
        return f"now: {json.dumps(self.state.read_config(service), sort_keys=True)}\nbefore: {told}"

    def show_head(self) -> str:
        """The message that is next in the queue; what changes with every delivery is left out."""
        messages = self._messages()
        if not messages:
            return "the queue is empty"
        return f"{messages[0]['message_id']}: {json.dumps(messages[0]['body'], sort_keys=True)}"

    def set_config(self, service: str, key: str, value: JsonValue, actor: str) -> datetime:
        """Change one setting (`peers.bank.port`: dots lead inside), and restart the service."""
        return self._tune(service, key, value, "config", f"{service}: {key} = {json.dumps(value)}", actor)

    def renew_certificate(self, actor: str) -> str:
        """Give the bank a certificate for the next 90 days; it takes it up by itself."""
        now = datetime.now(UTC)
        until = now + timedelta(days=certificates.DAYS_VALID)
        certificates.issue_bank_certificate(self.state.certificates, now - timedelta(minutes=5), until)
        self.hooks.report(Change("bank", "config", f"bank: certificate renewed until {until:%Y-%m-%d}", actor))
        return f"the bank's certificate is valid until {until:%Y-%m-%d}"

    def create_index(self, actor: str) -> str:
        """Create the stock ledger's index on the articles, when it is missing."""
        stock.create_index(self.state.data / "inventory.db")
        self.hooks.report(Change("inventory", "config", f"inventory: index {stock.INDEX} created", actor))
        return f"index {stock.INDEX} is there"

    def drop_message(self, message: str) -> str:
        """Remove one message from the queue, by its id, or `head` for the one that is next."""
        if message == "head":
            messages = self._messages()
            if not messages:
                return "the queue is empty"
            message = str(messages[0]["message_id"])
        self._ask("queue", "DELETE", f"/topics/{TOPIC}/messages/{quote(message)}")
        return f"{message} dropped"

    # -- inside --------------------------------------------------------------------------------------------------------

    def _tune(self, service: str, key: str, value: JsonValue, kind: ChangeKind, summary: str, actor: str) -> datetime:
        self._require(service)
        config = self.state.read_config(service)
        *path, last = key.split(".")
        place = config
        for step in path:
            inner = place.get(step)
            if not isinstance(inner, dict):
                raise ShopError(f"{service} has no setting {key}")
            place = inner
        if last not in place:
            raise ShopError(f"{service} has no setting {key}")
        place[last] = value
        self.state.write_config(service, config)
        at = self.hooks.report(Change(service, kind, summary, actor))
        self.supervisor.restart(service)
        return at

    def _deploy_decoy(self) -> datetime:
        version = "5.1.1" if self.state.read_config("recommendations")["version"] == "5.1.0" else "5.1.0"
        return self.deploy("recommendations", version, f"recommendations {version}: weight of popular items", "ci")

    def _send_foreign_order(self) -> datetime:
        """An order as another producer writes it, which the worker cannot read."""
        order: Json = {"source": "marketplace", "order": {"ref": f"mp-{self.seed:06d}", "total": "41,50"}}
        at = datetime.now(UTC)
        self._ask("queue", "POST", f"/topics/{TOPIC}/messages", {"headers": {}, "body": order})
        return at

    def _expire_certificate(self) -> datetime:
        now = datetime.now(UTC)
        not_before = now - timedelta(days=certificates.DAYS_VALID)
        certificates.issue_bank_certificate(self.state.certificates, not_before, now - timedelta(seconds=30))
        return now

    def _messages(self) -> list[Json]:
        return cast(list[Json], self._ask("queue", "GET", f"/topics/{TOPIC}/messages")["messages"])

    def _list_messages(self) -> str:
        messages = self._messages()
        lines = [
            f"  {message['message_id']}, {message['deliveries']} deliveries: {json.dumps(message['body'])[:80]}"
            for message in messages[:5]
        ]
        return "\n".join([f"queue: {len(messages)} messages", *lines])

    def _ask(self, service: str, method: str, path: str, body: Json | None = None) -> Json:
        connection = http.client.HTTPConnection(HOST, self.state.port(service), timeout=5)
        try:
            connection.request(method, path, json.dumps(body or {}), {"content-type": "application/json"})
            response = connection.getresponse()
            answer = cast(Json, json.loads(response.read()))
        except OSError as error:
            raise ShopError(f"{service} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ShopError(str(answer.get("error")))
        return answer

    def _require(self, service: str) -> None:
        if service not in SERVICES:
            raise ShopError(f"no service {service!r}; there are {', '.join(SERVICES)}")

    def _storefront_port(self) -> int:
        return self.state.port("storefront")


def _parse(text: str) -> JsonValue:
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError:
        return text


def _child_environment(endpoint: str | None, headers: Mapping[str, str], environment: str) -> dict[str, str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    environ |= {"SHOP_ENVIRONMENT": environment, "PYTHONUNBUFFERED": "1", "OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}
    if endpoint:
        environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": ",".join(f"{key}={quote(value)}" for key, value in headers.items()),
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        }
    return environ

"""A Kubernetes API for tests: lists in pages, watches as streams, versions that grow, a history that can be compacted."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

type Object = dict[str, Any]


class ClusterApi:
    """Objects by plural (`pods`), as an API server keeps them; `requests` notes every (plural, query)."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        self.history: list[tuple[int, str, str, Object]] = []
        self.version = 100
        self.compacted = 0
        self.cuts = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.forbidden: set[str] = set()
        self.closed = False

    def put(self, plural: str, name: str, happening: str = "", /, **body: Any) -> None:
        """Add or change an object, or with DELETED remove it."""
        with self.changed:
            self.version += 1
            known = name in self.objects[plural]
            about = {
                **body.pop("metadata", {}),
                "name": name,
                "namespace": "shop",
                "resourceVersion": str(self.version),
            }
            one = {**body, "metadata": about}
            if happening == "DELETED":
                one = self.objects[plural].pop(name)
            else:
                self.objects[plural][name] = one
            self.history.append((self.version, plural, happening or ("MODIFIED" if known else "ADDED"), one))
            self.changed.notify_all()

    def cut(self, *, forget: bool = False) -> None:
        """Break every open watch off; with `forget`, what happened so far can no longer be watched from."""
        with self.changed:
            self.cuts += 1
            if forget:
                self.version += 1
                self.compacted = self.version
            self.changed.notify_all()

    def listed(self, plural: str, query: dict[str, str]) -> Object:
        with self.changed:
            items = sorted(self.objects[plural].items())
            start, limit = int(query.get("continue", 0)), min(2, int(query.get("limit", 500)))
            page = [one for _, one in items[start : start + limit]]
            more = str(start + limit) if start + limit < len(items) else ""
            return {"metadata": {"resourceVersion": str(self.version), "continue": more}, "items": page}

    def watched(self, plural: str, since: int) -> Iterator[Object | None]:
        """Yield what happened after a version, None where the connection is to be cut."""
        cuts = self.cuts
        while True:
            with self.changed:
                if since < self.compacted:
                    yield {
                        "type": "ERROR",
                        "object": {"kind": "Status", "code": 410, "message": "too old resource version"},
                    }
                    return
                found = [(at, how, one) for at, name, how, one in self.history if name == plural and at > since]
                if not found:
                    if self.closed or self.cuts != cuts:
                        yield None
                        return
                    self.changed.wait(0.5)
            for at, how, one in found:
                since = at
                yield {"type": how, "object": one}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ClusterApi

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        plural = parts.path.rsplit("/", 1)[-1]
        self.api.requests.append((plural, query))
        if plural in self.api.forbidden:
            self._reply(403, {"kind": "Status", "code": 403, "message": "forbidden"})
        elif query.get("watch", "").lower() != "true":
            self._reply(200, self.api.listed(plural, query))
        else:
            self._stream(plural, int(query["resourceVersion"]))

    def _reply(self, status: int, body: Object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, plural: str, since: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in self.api.watched(plural, since):
                if event is None:
                    self.close_connection = True
                    return  # in the middle of the body
                line = json.dumps(event).encode() + b"\n"
                # A line need not come in one piece.
                for part in (line[:10], line[10:]):
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve_cluster() -> Iterator[tuple[ClusterApi, str]]:
    """Serve a cluster on a free port; yields it and its address."""
    api = ClusterApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        api.closed = True
        with api.changed:
            api.changed.notify_all()
        server.shutdown()
        thread.join()
        server.server_close()

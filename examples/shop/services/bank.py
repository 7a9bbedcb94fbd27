"""bank: transfers money, over TLS only. A new certificate file is taken up without a restart."""

import ssl
import threading
import zlib

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import Service
from examples.shop.state import State
from examples.shop.values import read_number, read_text


def build(state: State) -> Service:
    service = Service(state, "bank")
    service.tls = Certificate(service).context
    service.route("POST", "/transfers", Bank(service).transfer)
    return service


class Certificate:
    """The TLS settings of the server, read again when the file changes."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.path = service.state.certificates / "bank.pem"
        self.lock = threading.Lock()
        self.modified_ns = 0
        self.current = self.context()

    def context(self) -> ssl.SSLContext:
        with self.lock:
            modified_ns = self.path.stat().st_mtime_ns
            if modified_ns != self.modified_ns:
                self.current = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self.current.load_cert_chain(self.path)
                self.modified_ns = modified_ns
                self.service.log.info("certificate loaded from %s", self.path.name)
            return self.current


class Bank:
    """Always has the money."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def transfer(self, request: Request) -> Json:
        reference = read_text(request.body, "reference")
        amount = read_number(request.body, "amount")
        transfer_id = f"trf-{zlib.crc32(reference.encode()) ^ 0x5A5A5A5A:08x}"
        self.service.log.info("transfer %s of %.2f for %s booked", transfer_id, amount, reference)
        return {"transfer_id": transfer_id}

"""catalog: product pages, and the prices of a cart."""

import importlib
from typing import Protocol

from examples.shop.layout import MIB, PRODUCTS, Json, JsonValue
from examples.shop.server import Request
from examples.shop.service import RefusedError, Service
from examples.shop.state import State
from examples.shop.values import read_int, read_objects, read_text


class PageCache(Protocol):
    """What a release's module brings."""

    def page(self, key: str, template: bytes) -> bytes: ...


def build(state: State) -> Service:
    service = Service(state, "catalog")
    catalog = Catalog(service)
    service.route("GET", "/products", catalog.list_products)
    service.route("POST", "/quotes", catalog.quote)
    return service


class Catalog:
    """The products and what they cost."""

    def __init__(self, service: Service) -> None:
        self.service = service
        release = importlib.import_module(f"examples.shop.releases.catalog_{service.version.replace('.', '_')}")
        self.pages: PageCache = release.PageCache()
        self.page_size = read_int(service.config, "page_size")
        self.prices = {f"SKU-{number:05d}": 4.5 + number % 40 for number in range(PRODUCTS)}
        # A page as the browser gets it, pictures inlined.
        self.template = b"<html data-key='@key'>" + bytes(3 * MIB) + b"</html>"

    def list_products(self, request: Request) -> Json:
        session = request.query.get("session", "-")
        page = self.pages.page(f"products/{session}", self.template)
        products: list[JsonValue] = [
            {"sku": sku, "price": price} for sku, price in list(self.prices.items())[: self.page_size]
        ]
        self.service.log.info("listed %d products for session %s, page of %d bytes", len(products), session, len(page))
        return {"products": products}

    def quote(self, request: Request) -> Json:
        cart_id = read_text(request.body, "cart_id")
        lines = read_objects(request.body, "lines")
        self.pages.page(f"quotes/{cart_id}", self.template)
        total = 0.0
        for line in lines:
            sku = read_text(line, "sku")
            if sku not in self.prices:
                raise RefusedError(404, f"no product {sku}")
            total += self.prices[sku] * read_int(line, "quantity")
        self.service.log.info("quoted cart %s: %d lines, total %.2f", cart_id, len(lines), total)
        return {"total": round(total, 2)}

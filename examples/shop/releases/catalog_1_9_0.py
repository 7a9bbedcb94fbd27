"""catalog 1.9.0: rendered product pages, with their inlined pictures, are kept for the next request."""


class PageCache:
    """Keeps rendered pages by the key of the request."""

    def __init__(self) -> None:
        self._pages: dict[str, bytes] = {}

    def page(self, key: str, template: bytes) -> bytes:
        if key not in self._pages:
            self._pages[key] = template.replace(b"@key", key.encode())
        return self._pages[key]

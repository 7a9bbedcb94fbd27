"""catalog 1.8.3: product pages are rendered for each request."""


class PageCache:
    """Keeps nothing."""

    def page(self, key: str, template: bytes) -> bytes:
        return template.replace(b"@key", key.encode())

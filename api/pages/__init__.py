"""The web pages: rendered here, and whole without a script. Everything that comes from telemetry is escaped."""

from api.pages.render import Pages, is_page
from api.pages.routes import pages_router

__all__ = ["Pages", "is_page", "pages_router"]

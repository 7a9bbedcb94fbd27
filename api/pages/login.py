"""Logging in and out."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from api.auth import COOKIE, Session
from api.pages.render import Pages


def add_login(router: APIRouter, pages: Pages) -> None:
    """Add the login page, links that log in once, and the way out."""
    gate = pages.gate

    @router.get("/login")
    async def login_page(request: Request, token: str = "", next: str = "/") -> Response:  # noqa: A002
        if not token:
            return pages.render("login.html", None, next=_own_path(next), wrong="", signed_in=False)
        key = await gate.redeem_link_token(token)
        if key is None or key.revoked_us is not None:
            wrong = "This link was used already or is too old: log in with a key, or have a new link made."
            return pages.render("login.html", None, 401, next="/", wrong=wrong, signed_in=False)
        # A page of our own that moves on by itself: a strict cookie would not follow a redirect from elsewhere.
        response = pages.render("login.html", None, next=_own_path(next), wrong="", signed_in=True)
        gate.open_session(request, response, key.id)
        return response

    @router.post("/login")
    async def login(request: Request) -> Response:
        fields = await gate.form(request, None)
        wanted = _own_path(fields.get("next", "/"))
        key = await gate.login(fields.get("key", ""))
        if key is None:
            wrong = "This is no key that may read: keys look like cg_..., and `causegraph keys list` shows their roles."
            return pages.render("login.html", None, 401, next=wanted, wrong=wrong, signed_in=False)
        response = RedirectResponse(wanted, 303)
        gate.open_session(request, response, key.id)
        return response

    @router.post("/session-links")
    async def make_link(request: Request) -> JSONResponse:
        """Return an address that logs a browser in once, for the holder of a key."""
        key = await gate.check_key(request, "read")
        return JSONResponse({"url": f"{request.base_url}login?token={gate.make_link_token(key)}"})

    @router.post("/logout")
    async def logout(request: Request, session: Session = Depends(gate.page)) -> Response:
        await gate.form(request, session)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _own_path(path: str) -> str:
    """Return a path of this site; anything that could lead elsewhere becomes the home page."""
    own = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if own else "/"

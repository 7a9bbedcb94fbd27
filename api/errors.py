"""Every error to its HTTP status and a body of {error, message, hint}; pages get the same as a page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from agents.plain import error_body
from domain.errors import (
    AccessError,
    ActionRefused,
    ApprovalError,
    CausegraphError,
    ChatError,
    GraphUnavailable,
    MigrationNeeded,
    NotFound,
    PayloadError,
    PayloadTooLarge,
    QuestionError,
    StackError,
    StorageBusy,
    StorageFull,
    StorageUnavailable,
    UnsupportedMediaType,
)

logger = logging.getLogger(__name__)

type RenderError = Callable[[Request, int, dict[str, str]], Response]

_RETRY_AFTER_SECONDS = "5"


def status_of(exc: CausegraphError, *, known_caller: bool = False) -> int:
    """Return the HTTP status of an error. An AccessError of somebody with a valid key is 403, of anyone else 401."""
    match exc:
        case AccessError():
            return 403 if known_caller else 401
        case NotFound():
            return 404
        case PayloadTooLarge():
            return 413
        case UnsupportedMediaType():
            return 415
        case QuestionError():
            return 422
        case PayloadError():
            return 400
        case ApprovalError():
            return 409
        case ActionRefused():
            return 422
        case StorageBusy():
            return 429
        case ChatError():
            return 502
        case StorageUnavailable() | StorageFull() | MigrationNeeded() | GraphUnavailable() | StackError():
            return 503
        case _:
            return 500


def told_body(exc: CausegraphError, status: int) -> dict[str, str]:
    """Return the body of an error; what a server of ours said (statements, addresses) is for the log, not the caller."""
    return error_body(type(exc)() if status >= 500 else exc)


def describe_fields(errors: Sequence[Any]) -> str:
    """Return what is wrong with the fields of a request, field by field."""
    lines = []
    for error in errors:
        place = ".".join(str(step) for step in error["loc"] if step not in ("body", "query", "path")) or "the body"
        said = (
            "unknown field" if error["type"] == "extra_forbidden" else str(error["msg"]).removeprefix("Value error, ")
        )
        lines.append(f"{place}: {said}")
    return "; ".join(lines)


def install_error_handlers(
    app: FastAPI, is_page: Callable[[Request], bool], render: RenderError, outermost: Mapping[str, str]
) -> None:
    """Answer every error of an application in its one shape.

    `outermost` are the headers of an answer that no middleware sees: the one to an error that nobody expected.
    """

    def answer(request: Request, status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> Response:
        response: Response = JSONResponse(body, status)
        if is_page(request):
            response = render(request, status, body)
        response.headers.update(headers or {})
        return response

    @app.exception_handler(CausegraphError)
    async def known(request: Request, exc: CausegraphError) -> Response:
        status = status_of(exc, known_caller=getattr(request.state, "key", None) is not None)
        if status >= 500:
            logger.error("A request failed.", extra={"path": request.url.path, "reason": str(exc)})
        headers = {"Retry-After": _RETRY_AFTER_SECONDS} if status in (429, 503) else {}
        return answer(request, status, told_body(exc, status), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        message = describe_fields(exc.errors())
        return answer(request, 422, {"error": "InvalidRequest", "message": message, "hint": "See docs/api.md."})

    @app.exception_handler(HTTPException)
    async def refused(request: Request, exc: HTTPException) -> Response:
        phrase = HTTPStatus(exc.status_code).phrase
        body = {"error": phrase.replace(" ", ""), "message": f"{phrase}: {request.url.path[:200]}", "hint": ""}
        return answer(request, exc.status_code, body, dict(exc.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, exc: Exception) -> Response:
        # Starlette raises it once more after this answer, and the server's log then holds the traceback.
        body = {
            "error": "InternalError",
            "message": "Something unexpected went wrong while answering this request.",
            "hint": "The server's log has the details.",
        }
        return answer(request, 500, body, dict(outermost))

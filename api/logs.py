"""Logs as JSON: lines by text, families of templates, counts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from agents import log_replies, log_search, log_stats
from agents.code_templates import add_code
from agents.log_replies import LogQuery, Order, make_log_query
from agents.replies import read_time
from agents.services import Services
from api.auth import Gate
from domain.errors import QuestionError

type _Moment = Annotated[str, Query(max_length=40)]


def _read_query(
    environment: Annotated[str, Query(max_length=64, description="Default: `default`.")] = "",
    since: Annotated[str, Query(alias="from", max_length=40, description="Default: an hour before `to`.")] = "",
    to: Annotated[str, Query(max_length=40, description="Default: now.")] = "",
    service: Annotated[str, Query(max_length=128, description="Only of this service.")] = "",
    level: Annotated[str, Query(max_length=32, description="From this level on: `warn` holds error and fatal.")] = "",
    limit: Annotated[int, Query(ge=1, le=log_replies.MAX_ROWS)] = 50,
) -> LogQuery:
    return make_log_query(environment, read_time("from", since), read_time("to", to), service, level, limit)


type _Asked = Annotated[LogQuery, Depends(_read_query)]


def logs_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["logs"], dependencies=[Depends(gate.require("read"))])

    @router.get("/query/logs")
    async def query_logs(
        asked: _Asked,
        order: Annotated[Order | None, Query(description="Families of templates in place of lines.")] = None,
        before: _Moment = "",
        after: Annotated[
            int | None, Query(ge=-1, description="Follow: lines stored after this id; -1: the end.")
        ] = None,
        code: Annotated[bool, Query(description="With `order`: the line of indexed code that writes each.")] = False,
    ) -> dict[str, Any]:
        """The newest lines; with `order` families (top, new, vanished, bursting); with `after` what has come since."""
        if order is not None:
            if before or after is not None:
                raise QuestionError("`before` and `after` are for lines: `order` lists families, up to `limit`.")
            body = await log_replies.read_families(services, asked, order)
            if code:
                await add_code(services, body["families"])
            return body
        if after is not None:
            return await log_replies.follow_lines(services, asked, None if after < 0 else after)
        return await log_replies.search_lines(services, asked, "", before)

    @router.get("/search/logs")
    async def search_logs(
        asked: _Asked, q: Annotated[str, Query(min_length=1, max_length=500)], before: _Moment = ""
    ) -> dict[str, Any]:
        """Lines that hold a text, newest first, and `templates` that hold it or mean something like it."""
        return await log_search.search_logs(services, asked, q, before)

    @router.get("/stats")
    async def stats(
        asked: _Asked,
        step: Annotated[
            int, Query(ge=0, le=10**9, description="Also count by steps of so many seconds: 60 by minute.")
        ] = 0,
        template: Annotated[str, Query(max_length=20, description="Only lines of this log template.")] = "",
    ) -> dict[str, Any]:
        """How many lines each service wrote at each level, and in each step of time."""
        return await log_stats.read_log_stats(services, asked, step, template)

    return router

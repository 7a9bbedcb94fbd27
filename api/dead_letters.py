"""What was sent and could not be stored: listed, shown, sent again, dropped."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from agents.services import Services
from api.auth import Gate


def dead_letters_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router; all of it needs an admin key."""
    router = APIRouter(prefix="/dead-letters", tags=["dead letters"], dependencies=[Depends(gate.require("admin"))])

    @router.get("")
    async def find_all() -> JSONResponse:
        """Every letter without what it holds, the newest first."""
        letters = await asyncio.to_thread(services.dead_letters.find_all)
        return JSONResponse({"dead_letters": [asdict(letter) for letter in letters]})

    @router.get("/{letter_id}")
    async def show(letter_id: str) -> JSONResponse:
        """One letter; `content` is the records as they were sent, one a line, or nothing for a whole delivery."""
        letter, body = await asyncio.to_thread(services.dead_letters.read, letter_id)
        content = body.decode("utf-8", "replace") if letter.form == "records" else None
        return JSONResponse({**asdict(letter), "content": content})

    @router.post("/{letter_id}/replay")
    async def replay(letter_id: str) -> dict[str, Any]:
        """Take it once more: a receipt. The letter is dropped if nothing of it is rejected again."""
        receipt = await services.ingest.replay(letter_id)
        services.projection.notify()
        return asdict(receipt)

    @router.delete("/{letter_id}")
    async def drop(letter_id: str) -> dict[str, Any]:
        """Remove a letter for good."""
        await asyncio.to_thread(services.dead_letters.drop, letter_id)
        return {"dropped": letter_id}

    return router

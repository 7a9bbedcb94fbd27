"""Proofs as JSON: what leaves the program, and what comes back from who knows where."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import IndexingError
from indexer.merkle import Level, Proof

type Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Sibling(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: Literal["left", "right"]
    hash: Hash


class _Level(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=1024)
    siblings: list[_Sibling] = Field(max_length=64)


class _Proof(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=8192)
    content_hash: Hash
    tree_hash: Hash
    levels: list[_Level] = Field(max_length=1024)


def proof_body(proof: Proof) -> dict[str, Any]:
    """Return a proof as JSON. Levels are from the file's own folder up to the root."""
    levels = [
        {"name": level.name, "siblings": [{"side": side, "hash": hashed.hex()} for side, hashed in level.siblings]}
        for level in proof.levels
    ]
    return {"path": proof.path, "content_hash": proof.content.hex(), "tree_hash": proof.root.hex(), "levels": levels}


def read_proof(content: bytes) -> Proof:
    """Read a proof from JSON; raises IndexingError if it is none."""
    try:
        body = _Proof.model_validate_json(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise IndexingError(f"This is no proof: {where or 'the file'}: {first['msg']}") from exc
    levels = tuple(
        Level(level.name, tuple((sibling.side, bytes.fromhex(sibling.hash)) for sibling in level.siblings))
        for level in body.levels
    )
    return Proof(body.path, bytes.fromhex(body.content_hash), bytes.fromhex(body.tree_hash), levels)


def check_proof(proof: Proof, tree_hash: str = "", content: bytes | None = None) -> str:
    """Say in a sentence what is wrong with a proof, "" if nothing is."""
    if not proof.holds():
        return f"The proof does not hold: it does not lead from {proof.path} to the hash of its tree."
    if tree_hash and tree_hash.lower() != proof.root.hex():
        return f"The proof is of another tree: {proof.root.hex()}."
    if content is not None and blake3(content).digest() != proof.content:
        return f"The file does not have the content that is proved for {proof.path}."
    return ""

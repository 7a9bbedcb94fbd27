"""Which language a file is written in, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

TEXT = "text"

_BY_SUFFIX = {
    ".py": "python", ".pyi": "python", ".pyw": "python",
    ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript",
    ".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".tsx": "tsx",
    ".go": "go",
    ".java": "java",
    ".kt": "kotlin", ".kts": "kotlin",
    ".cs": "csharp",
    ".c": "c", ".h": "c",
    ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hh": "cpp", ".hpp": "cpp", ".hxx": "cpp",
    ".rs": "rust",
    ".rb": "ruby", ".rake": "ruby",
    ".php": "php",
    ".scala": "scala", ".sc": "scala",
    ".sh": "bash", ".bash": "bash",
    ".sql": "sql",
    ".yaml": "yaml", ".yml": "yaml",
    ".tf": "hcl", ".tfvars": "hcl", ".hcl": "hcl",
    ".proto": "proto",
    ".lua": "lua",
    ".dockerfile": "dockerfile",
}  # fmt: skip
_BY_NAME = {"dockerfile": "dockerfile", "containerfile": "dockerfile", "rakefile": "ruby", "gemfile": "ruby"}


def language_of(path: str) -> str:
    """Return the language of a file, `text` where there is no grammar for it."""
    name = PurePosixPath(path).name.lower()
    if found := _BY_NAME.get(name.split(".")[0] if name.startswith("dockerfile.") else name):
        return found
    return _BY_SUFFIX.get(PurePosixPath(name).suffix, TEXT)

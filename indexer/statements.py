"""Log statements: which calls write a message, at which level, and the text of the message with `<*>` for its values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tree_sitter import Node

from domain.code import LogStatement, StatementKind
from indexer.grammar import Match
from indexer.syntax import Outline, bare_name, text_of

VARIABLE = "<*>"

_MAX_TEMPLATE = 600
_MAX_ARGUMENTS = 12
_MAX_DEPTH = 24

_LEVELS = {
    **dict.fromkeys(("trace", "finest", "finer", "verbose"), "trace"),
    **dict.fromkeys(("debug", "fine", "dbg"), "debug"),
    **dict.fromkeys(("info", "information", "informational", "notice", "config", "msg"), "info"),
    **dict.fromkeys(("warn", "warning", "alert"), "warning"),
    **dict.fromkeys(("error", "err", "exception", "severe", "fail", "failure"), "error"),
    **dict.fromkeys(("fatal", "critical", "crit", "panic", "emerg", "emergency", "wtf", "dpanic"), "fatal"),
}
_LOGGER = re.compile(
    r"(?:^|[^a-z])_*(?:s|k|g|z|eventlet)?log(?:s|ger|gers|ging)?_*$|log(?:ger|ging)$|(?<=[a-z])Log$|^(?:LOG|LOGGER)$"
    r"|^(?:console|tracing|zap|sugar|sugared|lgr|warnings|timber|syslog|winston|pino|messages?)$",
    re.IGNORECASE,
)
_PRINTERS = frozenset(
    "print println printf eprintln eprint fprintf vfprintf puts fputs pp warn error_log perror syslog echo cout cerr "
    "clog dprintf".split()
)
_PRINT_OWNERS = re.compile(
    r"(?:^|[.:])(?:fmt|System\.(?:out|err)|Console(?:\.Error|\.Out)?|sys\.std(?:err|out)|process\.std(?:err|out)"
    r"|\$?std(?:err|out)|STD(?:ERR|OUT)|io|os\.Std(?:err|out)|typer|click|console|io\.stderr|out|Kernel)$"
)
_PRINT_CALLS = re.compile(r"^(?:f?print(?:f|ln)?|write(?:line)?|puts|echo|secho|say)$", re.IGNORECASE)
_RAISERS = re.compile(r"^(?:panic|anyhow|bail|ensure|unreachable|fail|abort|die|trigger_error|reject)$")
_RAISE_OWNED = re.compile(
    r"^(?:fmt\.Errorf|errors\.(?:New|Errorf|Wrap|Wrapf|WithMessage)|anyhow\.\w+|Kernel\.(?:raise|abort))$"
)
_C_LOG = re.compile(
    r"(?:^|_)(?:log|printk?|err|warn|warning|error|info|debug|trace|fatal|critical|notice)(?:f|_|$)", re.IGNORECASE
)
_BUILT = re.compile(r"\.(?:at)?(Trace|Debug|Info|Warn|Warning|Error|Err|Fatal|Panic)\(")
_SINKS = frozenset(("msg", "msgf", "log", "logf", "write", "send", "add", "printf", "print", "println", "output"))
_LEVEL_WORD = re.compile(r"\b(?:Level\.|LOG_|LogLevel\.|logging\.|level\.|Log::)?(\w+)")
_FORMATTERS = re.compile(
    r"(?:^|[.:])(?:format|sprintf|Sprintf|Sprint|strformat|formatted|vsprintf|interpolate|gettext|_|t|tr)!?$"
)
_PLACE = re.compile(
    r"%(?:\(\w+\)|\{\w+\})?[-+#0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh?|ll?|[qjztL])?[diouxXeEfFgGcrsabpvTtqUwmn@](?![a-zA-Z])"
    r"|%(?:\(\w+\)|\{\w+\})?[-+#0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh?|ll?|[qjztL])?[disvqxfgp]"
    r"|\{\{|\}\}|\$?\{[\w.:!,#?@$<>^+*\- \[\]'\"]{0,60}\}"
)  # fmt: skip
_HOLE = re.compile(r"\$?\{\0\}|\$?\0")
_ESCAPE = re.compile(r"\\(?:[nrt0]|x1b(?:\[[\d;]*m)?|033\[[\d;]*m|u001b(?:\[[\d;]*m)?|.)")
_RUNS = re.compile(r"<\*>(?:<\*>)+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_INTERPOLATIONS = frozenset(
    "interpolation template_substitution interpolated_identifier interpolated_expression variable_name "
    "simple_expansion expansion command_substitution dynamic_variable_name member_access_expression "
    "subscript_expression member_call_expression template_interpolation".split()
)
_JOINS = frozenset("binary_operator binary_expression additive_expression infix_expression binary".split())
_WRAPPERS = frozenset(
    "argument value_argument parenthesized_expression value_arguments await_expression reference_expression".split()
)
_CALLS = frozenset("call call_expression method_invocation invocation_expression function_call_expression".split())
_DELIMITERS = re.compile(r"^(?:[a-zA-Z@$#]{0,3})(?:\"\"\"|'''|\"|'|`|\[\[)|(?:\"\"\"|'''|\"|'|`|\]\])#*$")


def read_statements(language: str, matches: Sequence[Match], outline: Outline) -> tuple[LogStatement, ...]:
    """Return the places that write or raise a message with words in it, by line."""
    found: dict[tuple[int, str], LogStatement] = {}
    for match in matches:
        statement = _read(language, match, outline)
        if statement is not None:
            # What is raised is often a call too: the first to be read is kept.
            found.setdefault((statement.line, statement.template), statement)
    return tuple(sorted(found.values(), key=lambda s: (s.line, s.template)))


def _read(language: str, match: Match, outline: Outline) -> LogStatement | None:
    if "raise" in match:
        node = match["raise"][0]
        call = _first_call(node)
        if call is None:
            return None
        return _statement("raise", "error", _callee_text(call), _join(_arguments(call), False), node, outline)
    if "stream" in match:
        return _read_stream(match["stream"][0], outline)
    if "echo" in match:
        node = match["echo"][0]
        return _statement("print", "", "echo", _join(node.named_children, True), node, outline)
    if "call" not in match or "callee" not in match:
        return None
    node, name = match["call"][0], bare_name(text_of(match["callee"][0]))
    receiver = " ".join(text_of(match["receiver"][0]).split())[-200:] if "receiver" in match else ""
    kind = kind_of(language, name, receiver)
    if kind is None:
        return None
    arguments = _arguments(match["arguments"][0] if "arguments" in match else node)
    level = level_of(name, receiver, [text_of(a)[:60] for a in arguments[:2]]) if kind != "raise" else "error"
    callee = f"{receiver}.{name}" if receiver else name
    joined = kind == "print" or receiver.endswith("console") or language == "bash"
    return _statement(kind, level, callee, _join(arguments, joined), node, outline)


def kind_of(language: str, name: str, receiver: str) -> StatementKind | None:
    """Tell what a call does with its message: log it, print it, raise it, or nothing of these."""
    owner = re.split(r"\.|::|->", re.sub(r"\([^()]*\)$", "", receiver))[-1].strip("$@_ ")
    level = _level(name)
    if receiver:
        if _RAISE_OWNED.match(f"{owner}.{name}"):
            return "raise"
        if _PRINT_OWNERS.search(receiver) and _PRINT_CALLS.match(name):
            return "print"
        if _LOGGER.search(owner) and (level or name.lower() in _SINKS or name.lower().startswith("log")):
            return "log"
        if _BUILT.search(receiver) and name.lower() in _SINKS:
            return "log"
        return None
    if _RAISERS.match(name) or (language == "lua" and name == "error") or (language == "ruby" and name == "raise"):
        return "raise"
    if name in _PRINTERS or (language == "bash" and name == "logger"):
        return "log" if name in ("syslog", "logger") else "print"
    if (language == "rust" and level) or (language in ("c", "cpp") and _C_LOG.search(name)):
        return "log"
    return "log" if level and name.lower().startswith("log") and len(name) > 3 else None


def level_of(name: str, receiver: str, arguments: Sequence[str]) -> str:
    """Return the level that a call states in its name, its chain or its first arguments, else ""."""
    if found := _level(name):
        return found
    if chained := _BUILT.search(receiver):
        return _LEVELS[chained[1].lower()]
    for part in re.split(r"_|(?<=[a-z])(?=[A-Z])", name):
        if part.lower() in _LEVELS:
            return _LEVELS[part.lower()]
    for argument in arguments:
        word = _LEVEL_WORD.match(argument)
        if word and (found := _LEVELS.get(word[1].lower().removeprefix("log_").removeprefix("level_"), "")):
            return found
    return ""


def _level(name: str) -> str:
    word = name.lower().removeprefix("log").strip("_")
    for suffix in ("", "context", "ctx", "ln", "f", "w", "s", "x", "_once"):
        if suffix and not word.endswith(suffix):
            continue
        if found := _LEVELS.get(word.removesuffix(suffix) if suffix else word):
            return found
    return ""


def _read_stream(node: Node, outline: Outline) -> LogStatement | None:
    """Read `LOG(ERROR) << "x " << y` and `std::cerr << ...` of C++; only the outermost of the chain counts."""
    if node.parent is not None and node.parent.type == "binary_expression":
        return None
    operands: list[Node] = []
    left: Node | None = node
    while left is not None and left.type == "binary_expression" and len(operands) < 4 * _MAX_ARGUMENTS:
        right = left.child_by_field_name("right")
        if right is not None:
            operands.append(right)
        left = left.child_by_field_name("left")
    head = text_of(left).strip() if left is not None else ""
    if not re.match(
        r"(?:std::)?(?:cerr|cout|clog)$|\w*LOG\w*\(|VLOG|LOG_|spdlog|q(?:Debug|Info|Warning|Critical)\(", head
    ):
        return None
    printed = head.endswith(("cerr", "cout", "clog"))
    level = "" if printed else next((_LEVELS[w] for w in re.findall(r"[a-z]+", head.lower()) if w in _LEVELS), "")
    parts = [render(operand) for operand in reversed(operands)]
    text = "".join(part for part in parts if part != "endl")
    return _statement("print" if printed else "log", level, head[:80], text, node, outline)


def _statement(
    kind: StatementKind, level: str, callee: str, text: str, node: Node, outline: Outline
) -> LogStatement | None:
    template = _RUNS.sub(VARIABLE, " ".join(text.split()))[:_MAX_TEMPLATE]
    if not _WORD.search(template.replace(VARIABLE, "")):
        return None
    place = (node.start_point.row + 1, node.end_point.row + 1)
    return LogStatement(
        kind, level, " ".join(callee.split())[-120:], template, *place, outline.scope_at(node.start_byte)
    )


def _first_call(node: Node) -> Node | None:
    for child in node.named_children[:4]:
        for candidate in (child, *child.named_children[:2]):
            if (
                candidate.type in _CALLS
                or "creation" in candidate.type
                or candidate.type in ("new_expression", "instance_expression")
            ):
                return candidate
    return None


def _callee_text(call: Node) -> str:
    return re.split(r"[({\n]", text_of(call).removeprefix("new ").strip(), maxsplit=1)[0]


def _arguments(node: Node) -> list[Node]:
    """Return the arguments below a call or an argument list, as written."""
    holder = node.child_by_field_name("arguments")
    if holder is None and (node.type in _CALLS or "creation" in node.type or "instance" in node.type):
        holder = next((c for c in node.named_children if "argument" in c.type or c.type == "call_suffix"), None)
    if node.type == "command":
        return node.children_by_field_name("argument")[:_MAX_ARGUMENTS]
    holder = holder or node
    while holder.type == "call_suffix" and holder.named_child_count:
        holder = holder.named_children[0]
    if "string" in holder.type:  # Lua and Ruby need no parentheses
        return [holder]
    return [child for child in holder.named_children[: 2 * _MAX_ARGUMENTS] if child.type not in ("comment", "block")][
        :_MAX_ARGUMENTS
    ]


def _join(arguments: Sequence[Node], joined: bool) -> str:
    """Return the message: the first argument with words in it, with those behind it where all are written out."""
    first = ""
    for place, argument in enumerate(arguments):
        if argument.type == "keyword_argument" and not re.match(r"(?:msg|message|event)\s*=", text_of(argument)[:20]):
            continue
        first = render(argument)
        if _WORD.search(first.replace(VARIABLE, "")):
            if joined and VARIABLE not in first:
                before = [VARIABLE] * (place > 0 and arguments[0].type not in ("identifier",))
                behind = [render(a) for a in arguments[place + 1 :] if a.type != "keyword_argument"]
                return " ".join([*before, first, *behind])
            return first
    return ""


def render(node: Node, depth: int = 0) -> str:
    """Return the text that an expression writes, with `<*>` for what is not constant."""
    kind = node.type
    if depth > _MAX_DEPTH:
        return VARIABLE
    if kind in ("concatenated_string", "concatenation", "string_concatenation"):
        return "".join(render(child, depth + 1) for child in node.named_children)
    if kind in _JOINS:
        return _render_join(node, depth)
    if kind in _WRAPPERS or (kind == "expression" and node.named_child_count == 1):
        return render(node.named_children[-1], depth + 1) if node.named_child_count else VARIABLE
    if kind == "keyword_argument" and (value := node.child_by_field_name("value")):
        return render(value, depth + 1)
    if kind in _CALLS or kind in ("macro_invocation", "function_call", "method_call_expression"):
        return _render_call(node, depth)
    if "string" in kind or "heredoc" in kind or kind in ("word", "raw_text", "text"):
        return _render_string(node)
    return VARIABLE


def _render_join(node: Node, depth: int) -> str:
    children = node.children
    sign = next((text_of(child) for child in children if not child.is_named or "operator" in child.type), "")
    parts = [child for child in node.named_children if "operator" not in child.type]
    if sign == "%" and parts:
        return render(parts[0], depth + 1)
    if sign not in ("+", ".", "..", "++", "&", "<<"):
        return VARIABLE
    return "".join(render(part, depth + 1) for part in parts)


def _render_call(node: Node, depth: int) -> str:
    """Look into calls that only put a message together, such as `"...".format(x)` and `fmt.Sprintf("...", x)`."""
    head = re.split(r"\(", text_of(node)[:_MAX_TEMPLATE], maxsplit=1)[0]
    function = (
        node.child_by_field_name("function")
        or node.child_by_field_name("object")
        or node.child_by_field_name("receiver")
    )
    inner = function.named_children[0] if function is not None and function.named_child_count else function
    if function is not None and "string" in function.type:
        return render(function, depth + 1)
    if inner is not None and "string" in inner.type:
        return render(inner, depth + 1)
    if _FORMATTERS.search(head.strip()):
        for argument in _arguments(node):
            text = render(argument, depth + 1)
            if text != VARIABLE:
                return text
    return VARIABLE


def _render_string(node: Node) -> str:
    raw = node.text or b""
    if len(raw) > 8 * _MAX_TEMPLATE:
        raw = raw[: 8 * _MAX_TEMPLATE]
    parts, place = [], 0
    for start, end in _holes(node):
        start, end = start - node.start_byte, end - node.start_byte
        if start < place:
            continue
        parts += [raw[place:start].decode("utf-8", "replace"), "\0"]
        place = end
    text = "".join([*parts, raw[place:].decode("utf-8", "replace")])
    text = _DELIMITERS.sub("", text) if node.type not in ("word", "string_content") else text
    text = _ESCAPE.sub(lambda m: " " if m[0][1] in "nrt0xu" else m[0][1], text)
    text = _PLACE.sub(lambda m: m[0][0] if m[0] in ("{{", "}}") else VARIABLE, text).replace("%%", "%")
    return _HOLE.sub(VARIABLE, text)


def _holes(node: Node) -> Iterator[tuple[int, int]]:
    for child in node.named_children[:200]:
        if child.type in _INTERPOLATIONS:
            yield child.start_byte, child.end_byte
        elif child.type == "interpolated_string":
            yield from _holes(child)

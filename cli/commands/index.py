"""`causegraph index`: code bases in the index, kept in line with their files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.code_index import CodeIndex
    from indexer.code_graph import LinkReport
    from indexer.merkle import Change, Folder
    from indexer.sync import SyncReport
    from storage.code import CodeRoot

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Named = Annotated[str, typer.Argument(metavar="ROOT", help="A path, an address, or an id of `causegraph index list`.")]
_SHOWN = 20


class IndexGroup(TyperGroup):
    """`causegraph index PATH` is short for `causegraph index add PATH`, `causegraph index --watch` for `... sync --watch`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["sync" if all(word.startswith("-") for word in args) else "add", *args]
        return super().parse_args(ctx, args)


def add(
    target: Annotated[
        str, typer.Argument(metavar="PATH|ADDRESS", help="A folder, a checkout, or the address of a git repository.")
    ],
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service", "-s", metavar="NAME[=FOLDER]", help="Service that runs this code, or that folder of it."
        ),
    ] = None,
    branch: Annotated[str, typer.Option(help="Branch of an address; default: its own.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and follow every change until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Index a code base, or bring its index up to date.

    Only files that are new or changed are read. In a checkout the files count that git tracks or would add, elsewhere
    all but those that a `.gitignore` names. Links are not followed; binary and very large files and whatever looks like
    a secret are left out, and the report says so. An address (https, ssh or file) is cloned into the data folder.

    `--service` may be given several times, and replaces what was given before.
    """
    from cli.code_index import links_body, read_services, report_body
    from indexer.roots import make_root

    root, services = make_root(target, branch), read_services(service or ())

    async def work(index: CodeIndex) -> None:
        from cli.sync_progress import SyncProgress

        with SyncProgress(root.location) as progress:
            report = await index.add(root, services, progress)
            progress("link", 0, 0)
            links = await index.link(report.root.id, check_graph=report.changed)
        if as_json:
            print_json(report_body(report) | {"links": links_body(links)})
        else:
            _print_report(report, links)
        if watch:
            await _watch(index, [report.root], as_json=as_json)

    _run(work)


def sync(
    roots: Annotated[list[str] | None, typer.Argument(metavar="[ROOT]...", help="Which ones; default: all.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Trust nothing: read every file again.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and follow every change until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring indexed code bases and their graphs up to date. Exit status 1 if one could not be."""
    from cli.code_index import links_body, report_body
    from domain.errors import CausegraphError

    async def work(index: CodeIndex) -> None:
        wanted = [await index.find_root(name) for name in roots] if roots else await index.store.roots()
        bodies, failed = [], False
        for root in wanted:
            try:
                report, links = await _sync_one(index, root, fresh=fresh)
            except CausegraphError as exc:
                failed = True
                bodies.append({"id": root.id, "location": root.location, "error": str(exc)})
                if not as_json:
                    make_console(stderr=True).print(styled(f"{root.location}: {exc}", "red"), soft_wrap=True)
                continue
            bodies.append(report_body(report) | {"links": links_body(links)})
            if not as_json:
                _print_report(report, links)
        await index.store.forget_unused()
        if as_json:
            print_json({"roots": bodies})
        elif not wanted:
            make_console().print(styled("Nothing is indexed yet: `causegraph index PATH`.", "dim"))
        if watch:
            await _watch(index, wanted, as_json=as_json)
        elif failed:
            raise typer.Exit(1)

    _run(work)


def list_roots(as_json: JsonFlag = False) -> None:
    """List the indexed code bases."""
    from cli.answer import print_table
    from cli.code_index import root_body
    from domain.times import format_us

    async def work(index: CodeIndex) -> None:
        every, services = await index.store.roots(), await index.store.services()
        if as_json:
            print_json({"roots": [root_body(root, services) for root in every]})
            return
        if not every:
            make_console().print(styled("Nothing is indexed yet: `causegraph index PATH`.", "dim"))
            return
        rows = []
        for root in every:
            run_by = sorted({service.service for service in services if service.root_id == root.id})
            checked = format_us(root.checked_us)[:19].replace("T", " ") if root.checked_us else "never"
            rows.append((root.id, root.location, f"{root.files:,}", ", ".join(run_by) or "-", checked))
        print_table(make_console(), ("id", "code base", "files", "services", "checked (UTC)"), rows)

    _run(work)


def status(root: Named, as_json: JsonFlag = False) -> None:
    """Show what is known of a code base: its tree, its size, what was left out and why."""
    from cli.code_index import root_body

    async def work(index: CodeIndex) -> None:
        found, services = await index.find_root(root), await index.store.services()
        body = root_body(found, services)
        if as_json:
            print_json(body)
            return
        console = make_console()
        for name in ("id", "location", "branch", "commit", "tree_hash", "files", "bytes", "changed_at", "checked_at"):
            if body[name] is not None:
                shown = f"{body[name]:,}" if isinstance(body[name], int) else body[name]
                console.print(styled(f"{name:<12}", "dim") + styled(shown), soft_wrap=True)
        for stated in body["services"]:
            where = stated["folder"] or "all of it"
            console.print(styled(f"{'service':<12}", "dim") + styled(f"{stated['service']} ({where})"), soft_wrap=True)
        _print_problems(found.problems)

    _run(work)


def remove(root: Named) -> None:
    """Take a code base out of the index. Its files are not touched; a clone of ours is deleted."""

    async def work(index: CodeIndex) -> None:
        found = await index.find_root(root)
        left = await index.remove(found)
        await index.store.forget_unused()
        told = f"{found.location} is no longer indexed" + (f"; {left}" if left else "")
        make_console().print(styled(told), soft_wrap=True)

    _run(work)


def diff(
    root: Named,
    other: Annotated[
        str, typer.Argument(metavar="[OTHER]", help="Another one. Default: its files as they are now.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show how two code bases differ, or what the next sync of one would find.

    Exit status 1 if they differ.
    """
    from cli.code_index import change_body
    from indexer.merkle import diff_trees

    async def work(index: CodeIndex) -> None:
        one = await index.find_root(root)
        old = await _stored_tree(index, one)
        new = await _stored_tree(index, await index.find_root(other)) if other else await _present_tree(index, one)
        changes = diff_trees(old, new)
        if as_json:
            trees = {"tree_hash": old.hash.hex(), "other_tree_hash": new.hash.hex()}
            print_json(trees | {"changes": [change_body(change) for change in changes]})
        else:
            _print_changes(changes)
        if changes:
            raise typer.Exit(1)

    _run(work)


def prove(
    root: Named,
    path: Annotated[str, typer.Argument(help="A file of it, by its path below the root.")],
) -> None:
    """Print the proof that a file belongs to the indexed tree, as JSON.

    It takes a few hundred bytes and can be checked by `causegraph index verify`, anywhere and without the index.
    """
    from domain.errors import NotFound
    from indexer.merkle import prove as prove_file
    from indexer.proofs import proof_body

    async def work(index: CodeIndex) -> None:
        found = await index.find_root(root)
        proof = prove_file(await _stored_tree(index, found), path)
        if proof is None:
            raise NotFound(f"{path} is not in the index of {found.location}.")
        print_json(proof_body(proof))

    _run(work)


def verify(
    proof: Annotated[str, typer.Argument(metavar="PROOF", help="A file with what `causegraph index prove` printed.")],
    tree_hash: Annotated[str, typer.Option(help="The hash of the tree that it must be of.")] = "",
    file: Annotated[str, typer.Option(help="A file that must have the content that is proved.")] = "",
) -> None:
    """Check a proof: that the path, the content and the hash of the tree belong together.

    Exit status 1 if they do not.
    """
    from domain.errors import IndexingError
    from indexer.proofs import check_proof, read_proof

    try:
        read = read_proof(Path(proof).read_bytes())
        content = Path(file).read_bytes() if file else None
    except OSError as exc:
        raise IndexingError(f"{exc.filename}: {exc.strerror}") from exc
    wrong = check_proof(read, tree_hash, content)
    if wrong:
        make_console().print(styled(wrong, "red"), soft_wrap=True)
        raise typer.Exit(1)
    make_console().print(styled(f"{read.path} belongs to the tree {read.root.hex()}"), soft_wrap=True)


# -- at work -----------------------------------------------------------------------------------------------------------


async def _sync_one(index: CodeIndex, root: CodeRoot, *, fresh: bool = False) -> tuple[SyncReport, LinkReport]:
    from cli.sync_progress import SyncProgress

    with SyncProgress(root.location) as progress:
        report = await index.syncer.sync(root.id, progress, fresh=fresh)
        progress("link", 0, 0)
        return report, await index.link(root.id, check_graph=True)


async def _watch(index: CodeIndex, roots: Sequence[CodeRoot], *, as_json: bool) -> None:
    from cli.code_index import links_body, report_body
    from cli.code_watch import follow

    make_console(stderr=True).print(styled("Following changes until Ctrl-C.", "dim"))
    async for report in follow(index, roots):
        if report.changes:
            links = await index.link(report.root.id, check_graph=True)
            if as_json:
                print_json(report_body(report) | {"links": links_body(links)})
            else:
                _print_report(report, links)


async def _stored_tree(index: CodeIndex, root: CodeRoot) -> Folder:
    from indexer.merkle import build_tree

    return build_tree({file.path: bytes.fromhex(file.content_hash) for file in await index.store.files(root.id)})


async def _present_tree(index: CodeIndex, root: CodeRoot) -> Folder:
    from indexer.merkle import build_tree

    scan = await index.syncer.look(root)
    return build_tree(scan.leaves)


def _run(work: Callable[[CodeIndex], Awaitable[None]]) -> None:
    from cli.code_index import open_index

    async def run() -> None:
        async with open_index() as index:
            await work(index)

    asyncio.run(run())


# -- what is printed ---------------------------------------------------------------------------------------------------


def _print_report(report: SyncReport, links: LinkReport) -> None:
    console = make_console()
    kinds = Counter(change.kind for change in report.changes)
    told = ", ".join(f"{kinds[kind]:,} {kind}" for kind in ("added", "changed", "moved", "removed") if kinds[kind])
    line = f"{report.root.files:,} files, {report.root.bytes / 1e6:,.1f} MB: {told or 'nothing has changed'}"
    taken = f" ({report.parsed:,} parsed, {report.seconds:.2f} s)"
    console.print(styled(report.root.location, "bold") + styled(f"  {line}") + styled(taken, "dim"), soft_wrap=True)
    if report.skipped:
        left = ", ".join(f"{count:,} {name}" for name, count in sorted(report.skipped.items()))
        console.print(styled(f"  left out: {left}", "dim"), soft_wrap=True)
    if links.written:
        told = f"  code graph: {links.edges:,} edges, {links.written:,} written ({links.seconds:.2f} s)"
        console.print(styled(told, "dim"), soft_wrap=True)
    if links.problem:
        console.print(styled(f"  {links.problem}", "yellow"), soft_wrap=True)
    if report.changes:
        _print_problems(report.problems)


def _print_problems(problems: Sequence[str]) -> None:
    console = make_console()
    for problem in problems[:_SHOWN]:
        console.print(styled(f"  {problem}", "yellow"), soft_wrap=True)
    if len(problems) > _SHOWN:
        told = f"  and {len(problems) - _SHOWN:,} more: `causegraph index status ... --json`"
        console.print(styled(told, "yellow"), soft_wrap=True)


def _print_changes(changes: Sequence[Change]) -> None:
    console = make_console()
    signs = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow"), "moved": (">", "cyan")}
    for change in changes:
        sign, style = signs[change.kind]
        source = f"  (was {change.before})" if change.kind == "moved" else ""
        console.print(styled(f"{sign} {change.path}", style) + styled(source, "dim"), soft_wrap=True)
    if not changes:
        console.print(styled("No difference.", "dim"))

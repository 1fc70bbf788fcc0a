"""The sandbox as an HTTP server: the site at /, TMDB at /3, the control endpoint at /_sandbox.

Puts world, pages, TMDB, faults and report together. Nothing here knows templates or JSON shapes of
the two sites; nothing elsewhere knows Starlette or uvicorn.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from almanac_pipeline.sandbox import generate, movielens, tmdb
from almanac_pipeline.sandbox.changes import apply_changes
from almanac_pipeline.sandbox.client import ControlClient
from almanac_pipeline.sandbox.control import Fault, Faults, Report
from almanac_pipeline.sandbox.exports import export_zip
from almanac_pipeline.sandbox.options import GeneratedWorld, MovieLensWorld, SandboxConfig, SandboxOptions
from almanac_pipeline.sandbox.pages import HTML, Page, Site
from almanac_pipeline.sandbox.routes import Target, route
from almanac_pipeline.sandbox.truth import film_truth, member_truth
from almanac_pipeline.sandbox.world import World, moment

TRANSPORT = "sandbox.transport"
KEEP_ALIVE_SECONDS = 75


def build_world(choice: GeneratedWorld | MovieLensWorld) -> World:
    """Make the world that was chosen.

    Raises:
        almanac_pipeline.errors.ConfigurationError: a MovieLens folder is incomplete or lacks a person.
    """
    return movielens.load(choice) if isinstance(choice, MovieLensWorld) else generate.generate(choice)


def create_app(world: World, options: SandboxOptions | None = None) -> Starlette:
    """The sandbox's ASGI application over a world."""
    sandbox = _Sandbox(world, options or SandboxOptions())
    return Starlette(
        routes=[
            Route("/_sandbox/change", sandbox.change, methods=["POST"]),
            Route("/_sandbox/faults", sandbox.order_fault, methods=["POST"]),
            Route("/_sandbox/faults", sandbox.show_faults, methods=["GET"]),
            Route("/_sandbox/faults", sandbox.clear_faults, methods=["DELETE"]),
            Route("/_sandbox/report", sandbox.show_report),
            Route("/_sandbox/reset-report", sandbox.reset_report, methods=["POST"]),
            Route("/_sandbox/world", sandbox.show_world),
            Route("/_sandbox/world/members", sandbox.show_members),
            Route("/_sandbox/world/members/{name}", sandbox.show_member),
            Route("/_sandbox/world/films", sandbox.show_films),
            Route("/_sandbox/export/{name}.zip", sandbox.export),
            Route("/3/{path:path}", sandbox.tmdb),
            Route("/{path:path}", sandbox.page),
        ]
    )


class _Sandbox:
    """The endpoints of one sandbox."""

    def __init__(self, world: World, options: SandboxOptions) -> None:
        self._world = world
        self._options = options
        self._site = Site(world, options)
        self._tmdb = tmdb.Tmdb(world, options)
        self._faults = Faults()
        self._report = Report()

    # The two sites

    async def page(self, request: Request) -> Response:
        path: str = request.scope["path"]
        self._report.arrive("site")
        target = route(path)
        if not path.endswith("/") and target.kind != "robots":
            return self._told(request, "redirect", None, Page(301, b"", HTML, (("location", f"{path}/"),)))
        fault = await self._strike(request, target.kind, path, target.member)
        page = self._faulty_page(request, target, fault)
        return self._told(request, target.kind, target.member, page)

    def _faulty_page(self, request: Request, target: Target, fault: Fault | None) -> Page:
        base = f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"
        kind = None if fault is None else fault.fault
        if fault is not None and kind in ("status", "challenge"):
            return self._refusal(fault)
        if kind == "wrong_owner":
            target = self._neighbour(target)
        page = self._site.show(target, base, empty=kind == "empty")
        if kind == "truncate":
            return Page(page.status, page.body[: len(page.body) // 2], page.media_type, page.headers)
        if kind == "layout":
            return Page(page.status, _redesigned(page.body), page.media_type, page.headers)
        return page

    def _refusal(self, fault: Fault) -> Page:
        if fault.fault == "challenge":
            page = self._site.message(fault.status, "Just a moment...", "challenge", "Checking your browser.")
            headers: tuple[tuple[str, str], ...] = (("cf-mitigated", "challenge"),)
        else:
            page = self._site.message(
                fault.status, "Letterboxd - Error", "error message-dark", "Something went wrong."
            )
            headers = ()
        if fault.retry_after is not None:
            headers += (("retry-after", fault.retry_after),)
        return Page(page.status, page.body, page.media_type, headers)

    def _neighbour(self, target: Target) -> Target:
        """The same kind of page of somebody else; for a list their profile, since they have no such list."""
        if target.member is not None:
            names = sorted(set(self._world.members) - {target.member})
            kind = "profile" if target.kind == "list" else target.kind
            return Target(kind, names[sum(target.member.encode()) % len(names)], None, target.page)
        film = self._world.film_by_slug(target.name or "")
        if film is None:
            return target
        other = next(each for each in self._world.films.values() if each is not film and each.ratings)
        return Target(target.kind, None, other.slug)

    async def tmdb(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        recent = self._report.arrive("tmdb")
        kind = self._tmdb.kind(path)
        fault = await self._strike(request, kind, request.scope["path"], None)
        if fault is not None and fault.fault == "challenge":
            return self._told(request, kind, None, self._refusal(fault))
        if fault is not None and fault.fault == "status":
            headers = () if fault.retry_after is None else (("retry-after", fault.retry_after),)
            code, sentence = (
                (25, "Your request count is over the allowed limit.") if fault.status == 429 else (11, "")
            )
            answer = tmdb.problem(
                kind, (fault.status, code, sentence or "Internal error: Something went wrong."), headers
            )
        else:
            answer = self._tmdb.answer(path, request.query_params, request.headers, recent)
        body = answer.body
        if fault is not None and fault.fault == "truncate":
            body = body[: len(body) // 2]
        elif fault is not None and fault.fault in ("empty", "wrong_owner"):
            body = b"{}"
        return self._told(request, kind, None, Page(answer.status, body, tmdb.JSON_TYPE, answer.headers))

    async def _strike(self, request: Request, kind: str, path: str, member: str | None) -> Fault | None:
        """The fault for this request; delays and broken connections happen here and now."""
        fault = self._faults.draw(kind, path, member)
        delay_ms = self._options.latency_ms
        if fault is not None:
            self._report.faults[fault.fault] += 1
            delay_ms += fault.delay_ms if fault.fault == "delay" else 0
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if fault is not None and fault.fault == "reset":
            await _break_connection(request)
        return fault

    def _told(self, request: Request, kind: str, member: str | None, page: Page) -> Response:
        """The answer to send, counted."""
        self._report.note(kind, member, page.status, request.headers.get("user-agent", ""))
        headers = dict(page.headers)
        if page.status != 304:
            headers["content-type"] = page.media_type
        return Response(page.body, page.status, headers)

    # The control endpoint

    async def change(self, request: Request) -> Response:
        try:
            applied = apply_changes(self._world, await request.json())
        except (ValueError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"now": moment(self._world.now).isoformat(), "applied": applied})

    async def order_fault(self, request: Request) -> Response:
        try:
            fault = Fault.parse(await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        self._faults.waiting.append(fault)
        return JSONResponse(self._faults.describe())

    async def show_faults(self, _: Request) -> Response:
        return JSONResponse(self._faults.describe())

    async def clear_faults(self, _: Request) -> Response:
        self._faults.waiting.clear()
        return JSONResponse([])

    async def show_report(self, _: Request) -> Response:
        return JSONResponse(self._report.describe())

    async def reset_report(self, _: Request) -> Response:
        self._report.reset()
        return JSONResponse(self._report.describe())

    async def show_world(self, _: Request) -> Response:
        return JSONResponse(self._world.summary())

    async def show_members(self, request: Request) -> Response:
        names = sorted(self._world.members)
        offset, limit = _window(request)
        shown = [
            member_truth(self._world, self._world.members[name]) for name in names[offset : offset + limit]
        ]
        return JSONResponse({"total": len(names), "members": shown})

    async def show_member(self, request: Request) -> Response:
        member = self._world.member(request.path_params["name"])
        if member is None:
            return JSONResponse({"error": "no such member"}, 404)
        return JSONResponse(member_truth(self._world, member))

    async def show_films(self, request: Request) -> Response:
        films = list(self._world.films.values())
        offset, limit = _window(request)
        return JSONResponse(
            {"total": len(films), "films": [film_truth(film) for film in films[offset : offset + limit]]}
        )

    async def export(self, request: Request) -> Response:
        member = self._world.member(request.path_params["name"])
        if member is None:
            return JSONResponse({"error": "no such member"}, 404)
        crlf = self._options.crlf_exports or request.query_params.get("crlf") == "1"
        name = f"letterboxd-{member.key}-{moment(self._world.now):%Y-%m-%d-%H-%M}-utc.zip"
        return Response(
            export_zip(self._world, member, crlf=crlf),
            media_type="application/zip",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


def _window(request: Request) -> tuple[int, int]:
    query = request.query_params
    return int(query.get("offset", 0)), int(query.get("limit", 100))


async def _break_connection(request: Request) -> None:
    """Close the connection with a TCP reset instead of an answer."""
    transport = request.scope.get("extensions", {}).get(TRANSPORT)
    if transport is None:
        raise ConnectionResetError("the sandbox was told to reset this connection")
    handle = transport.get_extra_info("socket")
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0.01)  # until uvicorn knows, so that it drops the answer


class _Protocol(HttpToolsProtocol):
    """Lets an endpoint reach its connection, which a reset needs."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]


class _Uvicorn(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, app: Starlette, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=2,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(512)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


class SandboxServer(ControlClient):
    """A sandbox on a free loopback port in a thread of this process, for tests.

    Use as a context manager; the world is alive and may be read (not written) from the test.
    """

    def __init__(self, world: World | None = None, options: SandboxOptions | None = None) -> None:
        self.world = world or generate.generate(GeneratedWorld())
        self._listener = _listen("127.0.0.1", 0)
        super().__init__(_url("127.0.0.1", self._listener))
        self._ready = threading.Event()
        self._server = _Uvicorn(create_app(self.world, options), self._ready.set)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="sandbox", daemon=True
        )

    def __enter__(self) -> SandboxServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the sandbox did not start within 10 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()


def _redesigned(body: bytes) -> bytes:
    """The page after a change of the markup: it says the same by other names."""
    return body.replace(b" data-", b" data-next-").replace(b'class="', b'class="next-')


def serve(
    config: SandboxConfig, on_ready: Callable[[dict[str, str]], None], *, until_stdin_closes: bool = False
) -> None:
    """Serve until SIGINT or SIGTERM, or until standard input closes because the parent is gone.

    `on_ready` gets the addresses and the seed member's name once the sandbox listens.
    """
    world = build_world(config.world)
    listener = _listen(config.host, config.port)
    url = _url(config.host, listener)
    addresses = {
        "url": url,
        "tmdb_url": f"{url}/3",
        "control_url": f"{url}/_sandbox",
        "seed_member": world.seed_member,
    }
    server = _Uvicorn(create_app(world, config.options), lambda: on_ready(addresses))
    if until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    with listener:
        server.run(sockets=[listener])


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True

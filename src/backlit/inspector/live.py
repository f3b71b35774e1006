"""A page that stays connected: edit a number, and the engine runs again.

Needs the extra `live` (Starlette, uvicorn, websockets, threadpoolctl).
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from threadpoolctl import ThreadpoolController

from backlit.core.errors import ArgumentError
from backlit.core.record import listening
from backlit.core.rng import default_generator
from backlit.core.tensor import Tensor
from backlit.diagnose.capture import Capture
from backlit.diagnose.recording import Recording
from backlit.inspector.explored import Question
from backlit.inspector.page import page
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import Written
from backlit.inspector.wire import pack

MAX_MESSAGE = 4096  # bytes of a message from the page
_IDLE_S = 0.3  # after so long without an edit all tables are made, not only those of values and gradients
_LIMITS = Limits(full_elements=2048, full_bytes=1 << 19, side=16, thumbnail_bytes=1 << 19)


class Session:
    """A run that is repeated from edited values."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._cells: dict[str, Tensor] = {}
        self._undo: list[tuple[str, int, Any]] = []
        self._random = default_generator().get_state()
        self.asked: Question | None = None
        self.recording = self._recorded()
        if not self.recording.nodes:
            raise ArgumentError("live: the function records nothing; it has to compute something that requires grad")

    def _recorded(self) -> Recording:
        default_generator().set_state(self._random)  # else every difference would be noise
        for cell in self._cells.values():
            if cell.requires_grad:
                cell.grad = None
        recording = Recording()
        capture = Capture(recording)
        try:
            with listening(capture):
                self._run()
        finally:
            capture.finish()
        self._cells = {
            node.name: capture.cells[node]
            for node in reversed(recording.nodes)
            if node.kind in ("parameter", "input") and node in capture.cells
        }
        return recording

    def edit(self, name: str, element: int, value: float) -> None:
        """Puts a number into one element of a parameter or input.

        Raises:
          ArgumentError: there is no such value or element.
        """
        array = self._array(name)
        if not 0 <= element < array.size:
            raise ArgumentError(f"live: {name} has no element {element}")
        self._undo.append((name, element, array.reshape(-1)[element]))
        self._put(name, element, value)

    def undo(self) -> bool:
        """Takes the last edit back; whether there was one."""
        if not self._undo:
            return False
        self._put(*self._undo.pop())
        return True

    def _array(self, name: str) -> Any:
        cell = self._cells.get(name)
        if cell is None:
            raise ArgumentError(f"live: there is no value {name!r} that can be edited")
        return np.asarray(cell._value)

    def _put(self, name: str, element: int, value: Any) -> None:
        changed = np.array(self._array(name), order="C")
        changed.reshape(-1)[element] = value
        self._cells[name]._value = changed

    def run(self) -> None:
        """Runs again."""
        self.recording = self._recorded()

    def packed(self, complete: bool) -> bytes:
        """What the page gets: everything, or without what takes long to find out."""
        tables, info = Written(self.recording, sources=True, complete=complete, asked=self.asked).tables(_LIMITS)
        return pack(tables, {**info, "live": True, "complete": complete}, level=1)


class LiveServer:
    """Serves the page of a run on this machine only; `url` has a secret without which nothing is answered.

    The run is repeated after every edit, from the same random numbers; edits that come while it runs are made together
    before the next.
    """

    def __init__(self, run: Callable[[], Any], port: int = 0) -> None:
        self.session = Session(run)
        self._lock = threading.Lock()
        self._threads = ThreadpoolController()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(16)
        self.port = self._socket.getsockname()[1]
        self._token = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.port}/{self._token}/"
        app = Starlette(
            routes=[
                Route("/{token}/", self._page),
                WebSocketRoute("/{token}/socket", self._connected),
            ]
        )
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", lifespan="off", ws_max_size=MAX_MESSAGE, ws="websockets-sansio")
        )
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Serves in a thread of its own; gives the address."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket])), daemon=True
        )
        self._thread.start()
        return self.url

    def stop(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._socket.close()

    def _welcome(self, token: str, headers: Any) -> bool:
        """Whether a request is from the page: the secret is right, and so are the names that a browser gives."""
        here = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        origin = headers.get("origin")
        return (
            secrets.compare_digest(token.encode(), self._token.encode())
            and headers.get("host") in here
            and (origin is None or origin in [f"http://{name}" for name in here])
        )

    async def _page(self, request: Request) -> Response:
        if not self._welcome(request.path_params["token"], request.headers):
            return PlainTextResponse("not here", 404)
        host = request.headers["host"]
        data = await asyncio.to_thread(self._locked, lambda: self.session.packed(True))
        text = page(data, title="live", connect=f"ws://{host}", live=f"/{self._token}/socket")
        return HTMLResponse(text, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

    def _locked(self, work: Callable[[], Any]) -> Any:
        with self._lock:
            return work()

    async def _connected(self, socket: WebSocket) -> None:
        if not self._welcome(socket.path_params["token"], socket.headers) or "origin" not in socket.headers:
            await socket.close(1008)
            return
        await socket.accept()
        waiting: list[Any] = []
        arrived = asyncio.Event()
        answering = asyncio.create_task(self._answer(socket, waiting, arrived))
        with suppress(WebSocketDisconnect):
            while True:
                message = _understood(await socket.receive_text())
                if message is None:
                    await socket.close(1008)
                    break
                if isinstance(message, Question):
                    self.session.asked = message
                else:
                    waiting.append(message)
                arrived.set()
        answering.cancel()

    async def _answer(self, socket: WebSocket, waiting: list[Any], arrived: asyncio.Event) -> None:
        complete = True
        while True:
            try:
                await asyncio.wait_for(arrived.wait(), None if complete else _IDLE_S)
            except TimeoutError:
                await socket.send_bytes(await asyncio.to_thread(self._locked, lambda: self.session.packed(True)))
                complete = True
                continue
            arrived.clear()
            todo, waiting[:] = _latest(waiting), []
            if not todo:  # only a question, which the complete tables answer
                complete = False
                continue
            try:
                data = await asyncio.to_thread(self._locked, partial(self._done, todo))
            except Exception as error:  # noqa: BLE001 - of the user's run: told, and the page stays
                await socket.send_text(json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}))
                continue
            await socket.send_bytes(data)
            complete = False

    def _done(self, todo: list[Any]) -> bytes:
        # a second thread of the BLAS waits by spinning, in the way of the one that serves: 17 ms became 115
        with self._threads.limit(limits=1, user_api="blas"):
            return self._answered(todo)

    def _answered(self, todo: list[Any]) -> bytes:
        for message in todo:
            if message == "undo":
                self.session.undo()
            else:
                self.session.edit(*message)
        self.session.run()
        return self.session.packed(False)


def _understood(text: str) -> Any:
    """An edit (name, element, value), a question, "undo", or None for anything else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict) and len(found) == 1 and found.get("undo") is True:
            return "undo"
        if isinstance(found, dict) and found.keys() == {"ask", "element"}:
            if type(found["ask"]) is str and type(found["element"]) is int:
                return Question(found["ask"], found["element"])
        elif isinstance(found, dict) and found.keys() == {"name", "element", "value"}:
            name, element, value = found["name"], found["element"], found["value"]
            if type(name) is str and type(element) is int and type(value) in (int, float) and math.isfinite(value):
                return name, element, float(value)
    return None


def _latest(messages: list[Any]) -> list[Any]:
    """The messages without edits that a later one to the same element makes moot."""
    found: list[Any] = []
    for message in messages:
        if message != "undo":
            found = [m for m in found if m == "undo" or m[:2] != message[:2]] if "undo" not in found else found
        found.append(message)
    return found


def live(run: Callable[[], Any], *, port: int = 0) -> None:
    """Opens a page on which the numbers in a run can be edited; every edit runs `run()` again, in this process.

    `run` takes no arguments and does a forward and a backward pass. Its parameters and inputs are edited in place. The server
    listens on this machine only, under an address with a secret. Returns when interrupted.

    Raises:
      ArgumentError: `run` records nothing.
    """
    server = LiveServer(run, port)
    print(f"live at {server.start()}  (Ctrl-C ends it)")
    webbrowser.open(server.url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()

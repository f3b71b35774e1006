"""A page that stays connected: edit a number, and the engine runs again.

Needs the extra `live` (Starlette, uvicorn, websockets, threadpoolctl).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from threadpoolctl import ThreadpoolController

from backlit.inspector.page import page
from backlit.inspector.session import IDLE_S, Conversation, Session

MAX_MESSAGE = 4096  # bytes of a message from the page


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
        conversation, arrived = Conversation(self.session), asyncio.Event()
        answering = asyncio.create_task(self._answer(socket, conversation, arrived))
        with suppress(WebSocketDisconnect):
            while True:
                if not conversation.hear(await socket.receive_text()):
                    await socket.close(1008)
                    break
                arrived.set()
        answering.cancel()

    async def _answer(self, socket: WebSocket, conversation: Conversation, arrived: asyncio.Event) -> None:
        while True:
            try:
                await asyncio.wait_for(arrived.wait(), IDLE_S if conversation.owes else None)
            except TimeoutError:
                await socket.send_bytes(await asyncio.to_thread(self._locked, conversation.rest))
                continue
            arrived.clear()
            reply = await asyncio.to_thread(self._locked, lambda: self._quick(conversation))
            if isinstance(reply, bytes):
                await socket.send_bytes(reply)
            elif reply is not None:
                await socket.send_text(reply)

    def _quick(self, conversation: Conversation) -> bytes | str | None:
        # a second thread of the BLAS waits by spinning, in the way of the one that serves: 17 ms became 115
        with self._threads.limit(limits=1, user_api="blas"):
            return conversation.answer()


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

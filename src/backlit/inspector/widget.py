"""The kernel's side of a live page in a notebook: messages of views of a widget in, messages to them out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from backlit.inspector.page import page
from backlit.inspector.session import IDLE_S, Conversation, Session

MAX_TEXT = 4096  # characters of a message from the page
MAX_VIEWS = 32  # of one widget; the oldest is forgotten


class Send(Protocol):
    """Sends a message, and bytes beside it, to all views."""

    def __call__(self, message: dict[str, Any], buffers: list[bytes] | None = None) -> None: ...


class Views:
    """The pages that show one widget. Each asks for the page when it opens, and gets the answers to what it says itself."""

    def __init__(self, session: Session, send: Send) -> None:
        self._session, self._send = session, send
        self._views: dict[str, _View] = {}

    def hear(self, message: Any) -> None:
        """Takes a message; one of another form is passed over."""
        if not isinstance(message, dict) or type(name := message.get("view")) is not str:
            return
        if message == {"view": name, "open": True}:
            while len(self._views) >= MAX_VIEWS:
                self._views.pop(next(iter(self._views))).close()
            self._views[name] = _View(self._session, lambda reply: self._tell(name, reply))
            whole = page(self._session.packed(True), title="live", live="parent")
            self._send({"view": name, "page": True}, [whole.encode()])
        elif name in self._views:
            if message.keys() == {"view", "close"}:
                self._views.pop(name).close()
            elif message.keys() == {"view", "text"} and type(message["text"]) is str:
                self._views[name].hear(message["text"])

    def _tell(self, name: str, reply: bytes | str) -> None:
        if isinstance(reply, bytes):
            self._send({"view": name}, [reply])
        else:
            self._send({"view": name, "text": reply})


class _View:
    """One page, and what is to be done for it when the kernel has nothing else to do."""

    def __init__(self, session: Session, tell: Callable[[bytes | str], None]) -> None:
        self._conversation = Conversation(session)
        self._tell = tell
        self._planned: asyncio.TimerHandle | None = None

    def hear(self, text: str) -> None:
        if len(text) <= MAX_TEXT and self._conversation.hear(text):
            self._plan(0.0, self._answer)

    def _plan(self, delay: float, work: Callable[[], None]) -> None:
        """Does `work` after what is waiting in the kernel: edits among that are heard before one run makes them all."""
        self.close()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, but a program that hands messages on
            work()
        else:
            self._planned = loop.call_later(delay, work)

    def _answer(self) -> None:
        reply = self._conversation.answer()
        if reply is not None:
            self._tell(reply)
        if self._conversation.owes:
            self._plan(IDLE_S, self._rest)

    def _rest(self) -> None:
        self._tell(self._conversation.rest())

    def close(self) -> None:
        """What was planned is not done any more."""
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None

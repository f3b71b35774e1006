"""Firefox driven over WebDriver BiDi: as much of the protocol as opening a page, pressing keys and asking it needs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import connect


class Firefox:
    """One window; `complaints` is what pages logged and what they requested elsewhere."""

    def __init__(self, socket) -> None:
        self.socket, self.count = socket, 0
        self.complaints: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.window = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params) -> dict:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == self.count:
                assert answer["type"] == "success", answer
                return answer["result"]
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] in ("error", "warn"):
                self.complaints.append(answer["params"]["text"])
            elif answer.get("method") == "network.beforeRequestSent":
                url = answer["params"]["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    self.complaints.append(url)

    def open(self, path: Path) -> None:
        self.call("browsingContext.navigate", context=self.window, url=path.as_uri(), wait="complete")

    def ask(self, expression: str):
        target = {"context": self.window}
        result = self.call("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert result["type"] == "success", result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        code = {"ArrowRight": "\ue014", "ArrowLeft": "\ue012", "Home": "\ue011", "End": "\ue010"}.get(key, key)
        keys = [{"type": "keyDown", "value": code}, {"type": "keyUp", "value": code}]
        self.call("input.performActions", context=self.window, actions=[{"type": "key", "id": "k", "actions": keys}])


@contextmanager
def firefox(program: str, profile: Path) -> Iterator[Firefox]:
    command = [program, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", str(profile)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = ""
        for line in process.stderr:
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                address = found[1]
                break
        with connect(address + "/session", max_size=None) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        process.communicate(timeout=30)

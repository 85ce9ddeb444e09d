"""Drive Chromium over its debugging pipe: a real page, clicked and looked at."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image


class Browser:
    """One tab of a headless Chromium, with all it asked for and all it complained of.

    Args:
        width: of the window, in CSS pixels.
        height: of the window.
        media: features and their values, such as {"prefers-color-scheme": "dark"}.
    """

    def __init__(self, width: int = 1280, height: int = 900, **media: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._buffer, self._id = b"", 0
        self._profile = tempfile.mkdtemp()
        with contextlib.ExitStack() as stack:
            there, back = os.pipe(), os.pipe()
            command = f'exec "$0" "$@" 3<&{there[0]} 4>&{back[1]}'
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            assert chromium is not None, "install chromium: apt-get install chromium"
            flags = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._profile}",
                f"--window-size={width},{height}",
            ]
            self._process = subprocess.Popen(
                ["bash", "-c", command, chromium, *flags, "about:blank"],
                pass_fds=(there[0], back[1]),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(os.close, there[0])
            stack.callback(os.close, back[1])
            self._to, self._from = os.fdopen(there[1], "wb"), os.fdopen(back[0], "rb")
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._send("Browser.close", {}, "")
        self._process.wait(timeout=30)
        self._to.close()
        self._from.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> Any:
        """Give a command of the DevTools protocol and wait for its answer."""
        wanted = self._send(method, parameters, self._session)
        for message in self._messages():
            self._note(message)
            if message.get("id") == wanted:
                assert "error" not in message, message
                return message["result"]
        raise AssertionError("Chromium is gone")

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url=path.as_uri())
        for message in self._messages():
            self._note(message)
            if message.get("method") == "Page.loadEventFired":
                break

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            number = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}[key]
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=number,
                **text,
            )

    def picture(self, *, whole: bool = False) -> Image.Image:
        """What is seen; the whole page, also what is scrolled away, if `whole`."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "scale": 1, **{k: size[k] for k in ("width", "height")}}}

    def _send(self, method: str, parameters: dict[str, Any], session: str) -> int:
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        return self._id

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._buffer:
                part = os.read(self._from.fileno(), 1 << 20)
                if not part:
                    return
                self._buffer += part
            message, _, self._buffer = self._buffer.partition(b"\0")
            yield json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, said = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(said["args"]))

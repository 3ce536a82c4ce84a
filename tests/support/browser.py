"""Headless chromium driven over its debugging pipe, without a driver program."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowDown": 40}
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
         "--remote-debugging-pipe")  # fmt: skip
needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed: apt install chromium"
)


class Browser:
    """One page. `requests` are the addresses that it asked for, `errors` what it logged."""

    def __init__(self, profile: Path, width: int, height: int, *, phone: bool = False):
        read_theirs, self._write = os.pipe()
        self._read, write_theirs = os.pipe()
        # The pipe is descriptors 3 and 4, by convention.
        flags = " ".join([*FLAGS, f"--user-data-dir={profile}"])
        command = f"exec chromium {flags} about:blank 3<&{read_theirs} 4>&{write_theirs}"
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(read_theirs, write_theirs),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_theirs)
        os.close(write_theirs)
        self._buffer, self._number, self._session = b"", 0, None
        self.requests, self.errors = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method, **params):
        """Call a method of the DevTools protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self):
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], 60)[0], "chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "chromium ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown" or (
            message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error"
        ):
            self.errors.append(json.dumps(params)[:500])
        return message

    def js(self, expression):
        """Return the value of a JavaScript expression."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                        awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in got, (expression, got["exceptionDetails"])
        return got["result"].get("value")

    def wait(self, expression, seconds=60):
        """Wait until an expression is true and return it."""
        until = time.monotonic() + seconds
        while not (value := self.js(expression)):
            if time.monotonic() > until:
                body = self.js("document.body.innerText")
                raise AssertionError(f"never true: {expression}\n{body[:3000]}")
            time.sleep(0.05)
        return value

    def open(self, url, element):
        """Open an address and wait for an element."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.querySelector({element!r}) !== null")

    def press(self, key, times=1):
        """Press a key where the focus is."""
        for _ in range(times):
            text = {"Enter": "\r", " ": " "}.get(key)
            press = {"key": key, "windowsVirtualKeyCode": KEYS[key], "code": key}
            self.call("Input.dispatchKeyEvent", type="keyDown", **press,
                      **({"text": text} if text else {}))  # fmt: skip
            self.call("Input.dispatchKeyEvent", type="keyUp", **press)

    def tab_to(self, condition, most=60):
        """Press Tab until a condition of the focused element `e` is true."""
        for _ in range(most):
            self.press("Tab")
            if self.js(f"(e => !!({condition}))(document.activeElement)"):
                return
        raise AssertionError(f"the keyboard does not reach: {condition}")

    def type(self, text):
        """Type text where the focus is."""
        self.call("Input.insertText", text=text)

    def click(self, element, seconds=60):
        """Click the middle of what a JavaScript expression gives, once it is there.

        A page that still moves carries the element away from under the pointer; a click that
        has missed it so is made again.
        """
        self.wait(f"!!({element})")
        self.js(
            "document.addEventListener('click', event => {"
            f"const e = {element}; window.hit = !!e && e.contains(event.target) }}, true)"
        )
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            x, y = self.js(
                f"(() => {{ window.hit = false; const e = {element};"
                "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
                "return [r.x + r.width / 2, r.y + r.height / 2] })()"
            )
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                          clickCount=1)  # fmt: skip
            if self.js("window.hit"):
                return
        raise AssertionError(f"cannot be clicked: {element}")

    def screenshot(self, path):
        """Write a picture of the whole page."""
        import base64

        got = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(got["data"]))

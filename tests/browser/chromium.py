"""A real browser without a screen, spoken to over a pipe in Chrome's DevTools protocol. Nothing but Python is needed."""

import base64
import json
import os
import select
import signal
import subprocess
import tempfile
import time

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
]
# Far longer than anything takes on a busy machine.
PATIENCE_S = 60


class Browser:
    """One browser with a profile of its own, which goes when it is closed."""

    def __init__(self, program="chromium"):
        self.profile = tempfile.TemporaryDirectory(prefix="scalems-browser")
        to_browser, self.to = os.pipe()
        self.out, from_browser = os.pipe()

        def place():
            # The browser reads commands from 3 and writes answers to 4.
            high = os.dup(to_browser), os.dup(from_browser)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.read, self.events, self.number = b"", [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it, in order if it can."""
        try:
            self.call("Browser.close")
        except (OSError, RuntimeError):
            pass
        for pipe in (self.to, self.out):
            os.close(pipe)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.profile.cleanup()

    def message(self, until):
        """The next message of the browser."""
        while b"\0" not in self.read:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.out], [], [], left)[0]:
                raise RuntimeError("the browser says nothing")
            more = os.read(self.out, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self.read += more
        message, self.read = self.read.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        """Asks the browser for something, and waits for the answer; events that come meanwhile are kept."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        command = json.dumps(command).encode() + b"\0"
        while command:
            command = command[os.write(self.to, command) :]
        until = time.monotonic() + PATIENCE_S
        while True:
            message = self.message(until)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def page(self, width=1200, height=900):
        """A new page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Log", "Runtime", "Accessibility"):
            page.call(f"{domain}.enable")
        page.size(width, height)
        return page


class Page:
    """A page of it."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def said(self, method):
        """What events of this kind there were, their parameters."""
        events = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in events if event.get("method") == method]

    def size(self, width, height, scale=1):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def open(self, path):
        """Opens a file, and waits until it is there."""
        before = len(self.said("Page.loadEventFired"))
        answer = self.call("Page.navigate", url="file://" + os.path.abspath(path))
        assert "errorText" not in answer, answer
        until = time.monotonic() + PATIENCE_S
        while len(self.said("Page.loadEventFired")) == before:
            self.browser.events.append(self.browser.message(until))

    def media(self, kind="", scheme="light"):
        """Shows it on paper or on a screen, light or dark."""
        self.call(
            "Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def ask(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key, code=None, text=None):
        """Presses a key, and lets it go."""
        known = {"Tab": 9, "Enter": 13}
        what = {"key": key, "code": code or key, "windowsVirtualKeyCode": known.get(key, 0)}
        if key == "Enter":
            text = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **what, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def picture(self, path, whole=True, **more):
        """Writes a PNG of it."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **more)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def paper(self, path):
        """Prints it to a PDF."""
        printed = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        with open(path, "wb") as file:
            file.write(base64.b64decode(printed["data"]))

"""Firefox of the machine, driven over its own remote protocol (Marionette): Playwright drives only its own build
of Firefox, and geckodriver is not packaged for Debian's.

    with Firefox() as fox:
        fox.go(url)
        fox.wait("document.querySelector('.vx')", what="the recorder")
"""
import base64, json, os, shutil, signal, socket, subprocess, tempfile
from pathlib import Path

from browser import PATIENCE, free_port, wait_for

PREFS = {
    "browser.shell.checkDefaultBrowser": False, "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.disabledForTesting": True, "app.normandy.enabled": False, "browser.aboutwelcome.enabled": False,
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/", "browser.safebrowsing.downloads.remote.enabled": False,
    "media.gmp-manager.updateEnabled": False, "extensions.update.enabled": False,
    "media.autoplay.default": 0, # sound may start without a click
    "focusmanager.testmode": True, # a window that nobody sees counts as focused: getUserMedia waits for that
    "media.navigator.permission.disabled": True, "permissions.default.microphone": 1} # the person has allowed it

def firefox():
    "The Firefox of the machine; None if it has none."
    return next((p for o in ("firefox-esr", "firefox") if (p := shutil.which(o))), None)


class Firefox:
    "A headless Firefox with its own profile, whose person allows the microphone."
    def __init__(self, env={}, width=1280, height=1000):
        self.env, self.size, self.n, self.rest = env, (width, height), 0, b""

    def __enter__(self):
        self.profile = Path(tempfile.mkdtemp(prefix="firefox-"))
        port = free_port()
        prefs = PREFS | {"marionette.port": port}
        lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in prefs.items())
        (self.profile/"user.js").write_text("".join(lines))
        size = [f"--width={self.size[0]}", f"--height={self.size[1]}"]
        self.process = subprocess.Popen(
            [firefox(), "--headless", *size, "--marionette", "--remote-allow-system-access", "--no-remote",
             "--profile", self.profile],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | {"HOME": str(self.profile)} | self.env)
        def connect():
            assert self.process.poll() is None, "Firefox has ended"
            try: return socket.create_connection(("127.0.0.1", port), PATIENCE)
            except OSError: return None
        self.socket = wait_for(connect, "Firefox to listen", .2)
        self._read() # who it is
        self("WebDriver:NewSession", {})
        self("WebDriver:SetTimeouts", dict(script=1000*PATIENCE))
        return self

    def __exit__(self, *exc):
        try: self("Marionette:Quit", dict(flags=["eForceQuit"]))
        except (OSError, AssertionError): pass
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.socket.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _read(self):
        while b":" not in self.rest: self.rest += self._more()
        n, _, self.rest = self.rest.partition(b":")
        while len(self.rest) < int(n): self.rest += self._more()
        answer, self.rest = self.rest[:int(n)], self.rest[int(n):]
        return json.loads(answer)
    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data: raise OSError("Firefox closed the connection")
        return data

    def __call__(self, command, args):
        self.n += 1
        text = json.dumps([0, self.n, command, args]).encode()
        self.socket.sendall(str(len(text)).encode() + b":" + text)
        _, n, error, value = self._read()
        assert n == self.n and not error, f"{command}: {error}"
        return value

    def go(self, url): self("WebDriver:Navigate", dict(url=url))
    def js(self, code, *args):
        "The value of an expression in the page, awaited."
        script = (f"const done = arguments[arguments.length - 1]; "
                  f"(async () => {code})().then(done, e => done('failed: ' + e))")
        return self("WebDriver:ExecuteAsyncScript", dict(script=script, args=list(args), sandbox=None))["value"]
    def set(self, pref, value):
        "Change a preference that is true or false."
        self("Marionette:SetContext", dict(value="chrome"))
        self("WebDriver:ExecuteScript", dict(script="Services.prefs.setBoolPref(...arguments)", args=[pref, value]))
        self("Marionette:SetContext", dict(value="content"))
    def wait(self, code, what=None): return wait_for(lambda: self.js(code), what or code, .2)
    def shot(self, path):
        Path(path).write_bytes(base64.b64decode(self("WebDriver:TakeScreenshot", dict(full=False))["value"]))
        return path

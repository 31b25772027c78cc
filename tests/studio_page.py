"""The Studio's page as the person in front of it uses it, in JupyterLab or in a browser tab: what its browser tests
share.

    with Server(folder) as server, browser(wav) as context: LabStudio(context, server).go("Train")
    with Tab(folder, "voice", "dialect") as tab, browser(wav) as context: tab.open(context, 0).go("Train")
"""
import os, pty, subprocess, threading

import psutil

from conftest import warm
from browser import (PATIENCE, _end_with_parent, cell_output_text, find, kernel_state, new_notebook, open_notebook,
                     run_cell, screenshot, wait_for)
from recorder_page import HOOKS, RecorderPage, axe

CELL = "from voxtral_nb import Studio\nstudio = Studio('voice')\nstudio"
STEPS = "Speech Check Train Results Publish Demo".split() + ["My runs"]


class StudioPage:
    "A page that shows a Studio: `page`, and where it is in it, `root`."
    def __init__(self, page, root):
        self.page, self.root = page, find(page, root)
    def ready(self):
        self.root.and_(find(self.page, "[data-ready=true]")).wait_for()
        return self
    def state(self, step):
        "What stands under the name of a step."
        return self.tab(step).locator(".vs-state").inner_text()
    def tab(self, step): return self.root.locator(".vs-step").filter(has=self.page.locator("b", has_text=step))
    def go(self, step):
        self.tab(step).click()
        self.root.locator(f".vs-step[aria-current] b:text-is('{step}')").wait_for()
        return self
    def press(self, name, exact=True): self.root.get_by_role("button", name=name, exact=exact).first.click()
    def wait(self, step, words):
        "Wait until a step says something."
        try: return wait_for(lambda: words in self.state(step) and self.state(step), every=.2)
        except AssertionError:
            now = self.state(step), self.page.context.log[-5:], self.root.inner_text()[:1500]
            raise AssertionError(f"{step} does not say {words!r}; it says {now}") from None
    def says(self, text):
        try: self.root.get_by_text(text).first.wait_for()
        except Exception:
            raise AssertionError(f"no {text!r}; the page says {self.root.inner_text()[:3000]}") from None
    def set(self, group, name, value):
        "Type a setting, in the form of all settings."
        fold = self.root.locator(f"#vs-group-{group}")
        for o in (self.root.locator("#vs-settings"), fold):
            if o.get_attribute("open") is None: o.locator("> summary").click()
        self.type(name, value)
    def type(self, field, value):
        "Type into a field, and leave it."
        self.root.locator(f"#vs-{field}").fill(value)
        self.page.keyboard.press("Tab")
    def look(self, name):
        "Nothing that axe-core finds, and one primary button at most; a picture for people."
        screenshot(self.root, f"studio_{name}")
        assert axe(self.root) == [], name
        mains = self.root.locator(".vs-main:visible").all_inner_texts()
        assert len(mains) <= 1, (name, mains)


class LabStudio(StudioPage):
    "A Studio in the first cell of a notebook."
    def __init__(self, context, server):
        new_notebook(server.folder, "studio.ipynb", [CELL])
        super().__init__(context.new_page(), ".jp-CodeCell .vs")
        self.page.add_init_script(HOOKS)
        open_notebook(self.page, server, "studio.ipynb")
        self.run_cell()
    def run_cell(self):
        run_cell(self.page, 0, wait=False)
        try: self.ready()
        except Exception as e:
            raise AssertionError(f"no Studio is there; the cell shows {cell_output_text(self.page, 0)[-2000:]!r}; "
                                 f"{kernel_state(self.page)}; {self.page.context.log[-5:]}") from e


class TabRecorder(RecorderPage):
    "The recorder below the Studio in a browser tab."
    @property
    def root(self): return self.page.locator(".vx:visible")


class TabStudio(StudioPage):
    "A Studio in a browser tab."
    def __init__(self, page): super().__init__(page, ".vs")
    def recorder(self): return TabRecorder(self.page).ready()
    def reload(self):
        self.page.reload()
        return self.ready()
    def close(self): self.page.close(run_before_unload=True)


class Tab:
    "`voxtral-studio` as a person starts it: in a terminal, with Ctrl-C and an answer to what it asks."
    def __init__(self, folder, *projects, env=None): self.folder, self.projects, self.env = folder, projects, env

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.terminal, end = pty.openpty()
        code = ("import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); " # from where Ctrl-C comes
                "from voxtral_nb.studio.serve import voxtral_studio; voxtral_studio()")
        self.process = subprocess.Popen([*warm.python, "-c", code, *self.projects, "--no-browser"], cwd=self.folder,
                                        stdin=end, stdout=end, stderr=end,
                                        env={**(self.env or os.environ), **warm.again}, preexec_fn=_end_with_parent)
        os.close(end)
        self.printed = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: "Ctrl-C ends it" in self.printed or self.process.poll() is not None, "the address")
        self.url = next(o.strip() for o in self.printed.splitlines() if o.startswith("http://127.0.0.1:"))
        return self

    def _read(self):
        try:
            while data := os.read(self.terminal, 4096): self.printed += data.decode(errors="replace")
        except OSError: pass # it has ended

    def type(self, keys): os.write(self.terminal, keys.encode())
    def says(self, text): wait_for(lambda: text in self.printed, f"{text!r} in {self.printed!r}")
    def kernels(self): return psutil.Process(warm.job(self.process.pid)).children()

    def ctrl_c(self, answer=None):
        "Press Ctrl-C, answer the question, and wait for the end; what it printed."
        self.type("\x03")
        if answer is not None:
            self.says("Stop it (s), or leave it running (l)?")
            self.type(answer + "\n")
        assert self.process.wait(PATIENCE) == 0, self.printed
        self._reader.join(5)
        return self.printed

    def open(self, context, project=0):
        "A tab that shows one of the projects."
        page = context.new_page()
        page.add_init_script(HOOKS)
        page.goto(f"{self.url}&project={project}")
        return TabStudio(page).ready()

    def __exit__(self, *exc):
        if self.process.poll() is None:
            for p in (*self.kernels(), self.process): p.kill()
        os.close(self.terminal)

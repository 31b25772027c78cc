"Clips can be heard in a notebook, and nothing of them stays in its file."
import json

from browser import (Server, browser, cell, new_notebook, open_notebook, read_notebook, run_cell, save, screenshot,
                     wait_for)
from recorder_page import axe

TABLES = """
from voxtral_nb import load_speech, sample_speech
from voxtral_nb.data.listen import ClipTable, show_clips
speech = load_speech(sample_speech("accent_eval"))
show_clips(speech, n=3)
"""
GONE = 'ClipTable(["text"], [["<b>one</b>"], ["two"]], [speech.dataset[0]["audio"], "gone.wav"], above="<p>above</p>")'
HEARD = """() => { const play = HTMLMediaElement.prototype.play; window.heard = [];
    HTMLMediaElement.prototype.play = function() { const p = play.call(this); window.heard.push(this); return p; } }"""


class Table:
    "The locator of an element, as `axe` takes it."
    def __init__(self, root): self.root, self.page = root, root.page
    def evaluate(self, js): return self.root.evaluate(js)


def test_a_clip_is_heard_and_not_saved(tmp_path):
    with Server(tmp_path/"nb") as server, browser(None) as context:
        new_notebook(server.folder, "a.ipynb", [TABLES, GONE])
        page = open_notebook(context.new_page(), server, "a.ipynb")
        for i in range(2): run_cell(page, i)
        page.evaluate(HEARD)
        table = cell(page, 0).locator(".vnb-clips")
        buttons = table.locator("td button")
        assert buttons.count() == 3 and table.locator("svg").count() == 3
        buttons.nth(1).click()
        length = wait_for(lambda: page.evaluate("() => window.heard[0]?.duration || 0"), what="the sound")
        assert .2 < length < 3 and buttons.nth(1).get_attribute("aria-label").startswith(("Stop", "Play")), length
        wait_for(lambda: page.evaluate("() => window.heard[0].ended"), what="the end")
        assert buttons.nth(1).get_attribute("aria-label") == "Play clip 2"
        lengths = lambda: [float(o.split()[0]) for o in table.locator("td:last-child").all_inner_texts()]
        for backward in (False, True):  # a click on a title sorts, another one turns the order round
            table.get_by_role("button", name="length").click()
            assert lengths() == sorted(lengths(), reverse=backward)
        screenshot(cell(page, 0), "listen_table")
        assert axe(Table(table)) == []
        second = cell(page, 1)
        assert second.locator("p").inner_text() == "above" and second.locator("td b").inner_text() == "one"
        second.locator("td button").nth(1).click()
        wait_for(lambda: "gone.wav" in second.get_by_role("status").inner_text(), what="the reason")
        save(page)
        saved = json.dumps(read_notebook(server.folder, "a.ipynb"))
        assert "UklGR" not in saved and "audio/wav" not in saved and len(saved) < 60_000, len(saved)

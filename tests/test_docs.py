"""The site as a browser shows it."""
import re
from pathlib import Path

import pytest
from browser import browser

from conftest import warm


@pytest.fixture(scope="module")
def site(shared, tree):
    "The site."
    def build(folder):
        r = warm.run("tools/docs.py", "site", cwd=tree, check=True)
        assert not [l for l in r.stderr.splitlines() if l.startswith("warning:")], r.stderr
        (tree/"_docs").rename(folder)
    return shared("site", build)


@pytest.fixture(scope="module")
def page(site):
    with browser(width=1400, height=900) as context: yield context.new_page()


def test_every_page_is_there_and_every_link_between_pages_leads_somewhere(site):
    pages = {p.relative_to(site).as_posix(): p.read_text(encoding="utf-8") for p in site.rglob("*.html")}
    assert {"index.html", "core/config.html", "training/trainer.html", "run/notebooks.html", "runs/train_lora.html",
            "runs/train_full.html", "runs/evaluate.html"} <= set(pages)
    broken = []
    for name, html in pages.items():
        for link in re.findall(r'href="([^"#?]+)', html):
            if re.match(r"(https?:|mailto:|data:|javascript:)", link): continue
            if not (site/Path(name).parent/link).resolve().exists(): broken.append(f"{name}: {link}")
    assert not broken, broken[:20]


def test_every_anchor_is_there_no_other_host_is_asked_and_every_picture_has_a_text(site):
    pages = {p.resolve(): p.read_text(encoding="utf-8") for p in site.rglob("*.html")}
    ids, dead = {p: set(re.findall(r'\sid="([^"]+)"', html)) for p, html in pages.items()}, []
    for p, html in pages.items():
        for link, anchor in re.findall(r'href="([^"#?:]*)#([^"]+)"', html):
            if anchor not in ids.get((p.parent/link).resolve() if link else p, ()):
                dead.append(f"{p.name}: {link}#{anchor}")
        assert not re.findall(r'<(?:script|link rel="stylesheet")[^>]*(?:src|href)="https?:[^"]*"', html), p.name
        assert not re.findall(r"<img (?![^>]*alt=)[^>]{,80}", html), p.name
    assert not dead, dead[:20]


def test_no_page_shows_nbdev_directives_or_private_names(site):
    for p in site.rglob("*.html"):
        html = p.read_text(encoding="utf-8")
        assert "#| export" not in html and "default_exp" not in html and "Traceback (most" not in html, p.name
        assert not re.findall(r"<h[2-5][^>]*>_[\w.]+", html), p.name


def test_home_page_in_a_browser(site, page):
    page.goto(f"file://{site}/index.html")
    assert page.locator("h1").first.inner_text() == "voxtral_nb"
    assert page.locator("nav a", has_text="LoRA fine-tuning").count() >= 1
    page.locator("#quarto-sidebar a, nav a", has_text="Trainer").first.click()
    page.wait_for_load_state()
    assert page.locator("h1").first.inner_text() == "Trainer"


def test_pictures_and_tables_are_shown(site, page):
    page.goto(f"file://{site}/runs/train_lora.html")
    sizes = page.eval_on_selector_all(".cell-output img", "els => els.map(e => e.naturalWidth)")
    assert len(sizes) >= 2 and min(sizes) > 200, sizes
    assert page.locator(".cell-output svg[aria-label=waveform]").count() >= 3
    assert page.locator(".cell-output table").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), (
        "the page is wider than the window")


AXE = """async options => (await axe.run({resultTypes: ["violations"], ...options})).violations.map(
    v => [v.id, v.nodes[0].html.slice(0, 200)])"""

@pytest.mark.parametrize("name", ["index", "measure/silence", "runs/train_lora", "tutorials/record_your_voice"])
def test_pages_are_readable_for_everyone(site, page, name): # a page of each kind
    "What axe-core finds: nothing; in dark colours it looks at the contrast only, the rest is the same."
    import axe_playwright_python
    page.emulate_media(color_scheme="light")
    page.goto(f"file://{site}/{name}.html")
    page.evaluate((Path(axe_playwright_python.__file__).parent/"axe.min.js").read_text(encoding="utf-8"))
    for scheme, options in dict(light={}, dark=dict(runOnly=["color-contrast"])).items():
        page.emulate_media(color_scheme=scheme)
        # the navigation bar follows the page after 50 ms
        page.locator(f"html{'.quarto-dark' if scheme == 'dark' else ':not(.quarto-dark)'}").wait_for(state="attached")
        assert not (found := page.evaluate(AXE, options)), (scheme, found)
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("name", ["index", "training/trainer", "speed", "runs/train_lora",
                                  "tutorials/record_your_voice"])
def test_code_is_wrapped_and_pictures_have_room(site, page, name):
    "At 1400 px and on a phone, nothing is cut off."
    page.goto(f"file://{site}/{name}.html")
    for width in (1400, 390):
        page.set_viewport_size(dict(width=width, height=900))
        cut = page.eval_on_selector_all("pre.sourceCode",
                                        "els => els.filter(e => e.scrollWidth > e.clientWidth + 1).length")
        assert not cut and page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), width
        wide = page.eval_on_selector_all(".wide", "els => els.map(e => [e.clientWidth, e.firstChild.clientWidth])")
        assert all(img > 600 for _, img in wide), wide
        assert wide or name not in ("index", "tutorials/record_your_voice")
    page.set_viewport_size(dict(width=1400, height=900))

"""The site as a browser shows it."""
import re, shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from conftest import BIN, sh

FLAGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()


@pytest.fixture(scope="module")
def site(tree):
    r = sh(BIN/"python", "tools/docs.py", "site", cwd=tree, check=True)
    assert not [l for l in r.stderr.splitlines() if l.startswith("warning:")], r.stderr
    return tree/"_docs"


@pytest.fixture(scope="module")
def page(site):
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    with sync_playwright() as p:
        browser = p.chromium.launch(args=FLAGS, **(dict(executable_path=chromium) if chromium else {}))
        yield browser.new_page(viewport=dict(width=1300, height=900))
        browser.close()


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


def test_no_page_shows_what_only_nbdev_should_see(site):
    for p in site.rglob("*.html"):
        html = p.read_text(encoding="utf-8")
        assert "#| export" not in html and "default_exp" not in html and "Traceback (most" not in html, p.name


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
    assert len(sizes) >= 3 and min(sizes) > 200, sizes
    assert page.locator(".cell-output table").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), (
        "the page is wider than the window")

"""README.md and the docs site, made from the notebooks.  docs.py readme [--check] | docs.py site

nbdev processes the notebooks into _proc/ (directives, show_doc, links). README.md is the processed index as Markdown. The site is a copy of
_proc/ in build/docs, with `NN_name.ipynb` renamed to `name.ipynb`, rendered into _docs/ by Quarto if it is installed, otherwise by smalldocs,
which is pure Python and reads the same _quarto.yml (it ignores `output-file`, hence the renaming)."""
import argparse, json, os, re, shutil, subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
numbered = re.compile(r"\b\d\d_(\w+\.ipynb)")
link = re.compile(r"\]\((?!https?:|#|/|mailto:)([^)\s]+)\)")  # a relative Markdown link


def processed(
    only="", # process only notebooks with this file name; empty for all
): # nbdev's processed folder
    "Process the notebooks as nbdev does for Quarto."
    from nbdev.doclinks import _build_modidx
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()
    _build_modidx()
    return proc_nbs(n_workers=2, file_glob=only)


def base_url():
    "The address of the published site, as nbdev writes it in links."
    from nbdev.config import get_config
    cfg = get_config(root)
    return f"{cfg.doc_host}{cfg.doc_baseurl}/"


def without_front_matter(
    md, # Markdown that starts with the front matter that nbdev makes of a title and its quoted line
):
    "Turn front matter back into a title and a quoted line."
    import yaml
    m = re.match(r"\s*---\n(.*?)\n---\n", md, re.S)
    if not m: return md
    meta = yaml.safe_load(m[1])
    head = f"# {meta['title']}\n" + (f"\n> {meta['description']}\n" if meta.get("description") else "")
    return head + "\n" + md[m.end():].lstrip()


def readme(): # README.md's text
    "The index notebook as Markdown, with links that work from the root of the repository."
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(processed("index.ipynb")/"index.ipynb", 4)
    md = without_front_matter(MarkdownExporter().from_notebook_node(nb)[0])
    md = link.sub(lambda m: f"](nbs/{m[1]})" if not m[1].startswith("../") else f"]({m[1][3:]})", md)
    md = re.sub(r"\n{3,}", "\n\n", md).strip()
    return "<!-- Made from nbs/index.ipynb by make readme: edit the notebook. -->\n\n" + md + "\n"


def stage(
    proc, # nbdev's processed folder
    dest, # where the pages go
):
    "Copy the processed folder, rename numbered notebooks, and make links between pages relative."
    shutil.rmtree(dest, ignore_errors=True)
    shutil.copytree(proc, dest, ignore=shutil.ignore_patterns("_docs", "_site"))
    for f in dest.rglob("*.ipynb"):
        nb, up = json.loads(f.read_text(encoding="utf-8")), "../"*(len(f.relative_to(dest).parts) - 1)
        for c in nb["cells"]:
            if c["cell_type"] == "code": continue
            src = "".join(c["source"])
            c["source"] = numbered.sub(r"\1", src.replace(base_url(), up))
        for c in nb["cells"]:
            for o in c.get("outputs", []):
                if "text/markdown" in o.get("data", {}):
                    o["data"]["text/markdown"] = "".join(o["data"]["text/markdown"]).replace(base_url(), up)
        f.write_text(json.dumps(nb), encoding="utf-8")
        if numbered.fullmatch(f.name): f.rename(f.with_name(numbered.sub(r"\1", f.name)))
    yml = dest/"_quarto.yml"
    yml.write_text(numbered.sub(r"\1", yml.read_text(encoding="utf-8")), encoding="utf-8")


def site(): # the folder of the site
    "Build the site in _docs/."
    src, out = root/"build"/"docs", root/"_docs"
    stage(processed(), src)
    if shutil.which("quarto"): subprocess.run(["quarto", "render", str(src), "--no-execute"], check=True)
    else:
        print("Quarto is not installed: smalldocs builds the site.")
        from smalldocs.site import build
        for w in build(str(src), quiet=True).warnings: print(f"warning: {w}", file=sys.stderr)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(src/"_docs", out)
    print(f"{len(list(out.rglob('*.html')))} pages in {out.relative_to(root)}/; open {(out/'index.html').relative_to(root)}")
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("what", choices=["readme", "site"])
    p.add_argument("--check", action="store_true", help="readme: write nothing, exit 1 if README.md is not what the notebook gives")
    a = p.parse_args()
    os.chdir(root)
    if a.what == "site": return site()
    new, path = readme(), root/"README.md"
    if a.check:
        if not path.exists() or path.read_text(encoding="utf-8") != new: sys.exit("README.md is older than nbs/index.ipynb: run make readme")
    else: path.write_text(new, encoding="utf-8")


if __name__ == "__main__": main()  # proc_nbs starts worker processes, which import this file

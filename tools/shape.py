"""The shape of the code in figures: shape.py [--json] [--list KIND]

How many lines and names there are, how many private names cross a module's border, how the notebooks alternate between
code and words, and which lines are too long. `--list long|private|runs|upwards|public` names the places; `public`
names functions that nobody imports."""
import argparse, ast, json, re, subprocess, tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = "core data record model measure training share run studio testing".split()
LIMIT = 120


def modules(): # name -> (path, source)
    "The exported modules."
    return {p.relative_to(ROOT/"voxtral_nb").with_suffix("").as_posix().replace("/", "."): p
            for p in sorted((ROOT/"voxtral_nb").glob("**/*.py"))
            if p.name not in ("__init__.py", "_modidx.py")}


def notebooks(): return [p for r in ROOMS for p in sorted((ROOT/"nbs"/r).glob("*.ipynb"))]

def cells(p): # (kind, id, source): kind is "export", "code" or "markdown"; cells of imports are left out
    for c in json.loads(p.read_text(encoding="utf-8"))["cells"]:
        s = "".join(c["source"])
        if c["cell_type"] != "code":
            yield "markdown", c["id"], s
            continue
        if re.search(r"^#\| *default_exp", s, re.M): continue
        body = re.sub(r"(?m)^\s*[%!].*$", "", s)
        if all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(body).body): continue
        yield ("export" if re.search(r"^#\| *export", s, re.M) else "code"), c["id"], s


def private_names(): # (module, name) that a module takes from another one
    "Underscore names imported across modules, and underscore attributes of imported modules."
    for name, p in modules().items():
        tree, aliases = ast.parse(p.read_text(encoding="utf-8")), {}
        for n in ast.walk(tree):
            if isinstance(n, ast.ImportFrom) and (n.level or (n.module or "").startswith("voxtral_nb")):
                for a in n.names:
                    if a.name.startswith("_") and not a.name.startswith("__"): yield name, f"{n.module}.{a.name}"
                    aliases[a.asname or a.name] = f"{n.module}.{a.name}"
        for n in ast.walk(tree):
            if not isinstance(n, ast.Attribute) or not isinstance(n.value, ast.Name): continue
            if not n.attr.startswith("_") or n.attr.startswith("__") or n.value.id not in aliases: continue
            if aliases[n.value.id].split(".")[-1].islower(): yield name, f"{aliases[n.value.id]}.{n.attr}"


def upwards(): # modules that import a later room
    for name, p in modules().items():
        room = name.split(".")[0]
        for n in ast.walk(ast.parse(p.read_text(encoding="utf-8"))):
            if not isinstance(n, ast.ImportFrom): continue
            ours, module = n.level == 2, n.module or ""
            if module.startswith("voxtral_nb."): ours, module = True, module.removeprefix("voxtral_nb.")
            target = module if ours else None
            if target and (r := target.split(".")[0]) in ROOMS and ROOMS.index(r) > ROOMS.index(room):
                yield name, target


def sources(): # (path, text) of all that may use the package; a notebook's cells in one piece
    "The files in git, but for the exported modules, whose code their notebooks hold."
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True,
                           text=True).stdout.split("\n")
    for p in map(ROOT.joinpath, filter(None, files)):
        if p.suffix == ".ipynb":
            cs = json.loads(p.read_text(encoding="utf-8"))["cells"]
            yield p, "\n\n".join("".join(c["source"]) for c in cs)
        elif p.suffix in (".py", ".ini", ".md", ".yml", "") and p.is_file() and not p.is_symlink():
            if p.parent.parent != ROOT/"voxtral_nb": yield p, p.read_text(encoding="utf-8", errors="ignore")


def imported(text, prose=False): # the names that a text takes from modules of the package, in strings too
    "Names after `from ...module import`, those asked of a module by its name, and in prose those in backticks."
    names = re.findall(r"from +(?:voxtral_nb|\.+)[\w.]* +import +(\((?:[^)]*)\)|[^\n\\\"']*)", text)
    found = {w for n in names for w in re.findall(r"\w+", n)}
    if prose: found |= set(re.findall(r"`(\w+)(?:\(|`)", text))
    alias = r"import +voxtral_nb[\w.]* +as +(\w+)|from +voxtral_nb(?:\.\w+)? +import +(?:\w+ +as +)?(\w+)"
    for m in re.findall(alias, text):
        found |= {w for a in filter(None, m) for w in re.findall(rf"\b{a}\.(\w+)", text)}
    return found


def unused(): # (module, name) that is public and could be private
    "Public functions that nobody imports, no document and no docstring names. Classes are met as results and errors."
    used = set().union(*(imported(t, p.suffix == ".md") for p, t in sources()))
    for f in ("voxtral_nb/__init__.py", "settings.ini"):
        used |= set(re.findall(r"\w+", (ROOT/f).read_text(encoding="utf-8")))
    for p in modules().values(): used |= set(re.findall(r"`(\w+)(?:\(|`)", p.read_text(encoding="utf-8")))
    for name, p in modules().items():
        for n in definitions(ast.parse(p.read_text(encoding="utf-8"))):
            if isinstance(n, ast.FunctionDef) and not n.name.startswith("_") and n.name not in used: yield name, n.name


def definitions(tree): # top-level functions and classes, without methods that are patched in
    return [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            and not any(ast.unparse(d).startswith("patch") for d in n.decorator_list)]


def statements(p): # logical lines: what a line break does not change
    with open(p, "rb") as f: return sum(t.type == tokenize.NEWLINE for t in tokenize.tokenize(f.readline))


def shape():
    "All figures, and the places behind them."
    lines = {m: [l for l in p.read_text(encoding="utf-8").splitlines() if l.strip()] for m, p in modules().items()}
    top = [n for p in modules().values() for n in definitions(ast.parse(p.read_text(encoding="utf-8")))]
    follow, export, runs, long = 0, 0, [], []
    for p in notebooks():
        kinds, run = list(cells(p)), []
        for k, (kind, id, s) in enumerate(kinds):
            long += [(f"{p.relative_to(ROOT)}:{id}", l) for l in s.splitlines() if kind != "markdown"
                     and len(l) > LIMIT]
            if kind != "export":
                run = []
                continue
            export += 1
            run.append(id)
            follow += k+1 < len(kinds) and kinds[k+1][0] == "export"
            if len(run) == 4: runs.append((str(p.relative_to(ROOT)), run[0]))
    private, up, lone = sorted(set(private_names())), sorted(set(upwards())), list(unused())
    figures = dict(modules=len(lines), lines=sum(map(len, lines.values())),
                   logical_lines=sum(map(statements, modules().values())),
                   public=sum(not n.name.startswith("_") for n in top),
                   public_used_nowhere_else=len(lone),
                   private=sum(n.name.startswith("_") for n in top), private_names_across_modules=len(private),
                   imported_upwards=len(up), export_cells=export,
                   export_cells_followed_by_another=round(follow/export, 3), runs_of_more_than_three=len(runs),
                   code_lines_over_120=len(long))
    return figures, dict(long=long, private=private, runs=runs, upwards=up, public=lone)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--json", action="store_true")
    p.add_argument("--list", choices=["long", "private", "runs", "upwards", "public"])
    p.add_argument("--only", default="", help="places that contain this")
    a = p.parse_args()
    figures, places = shape()
    if a.list:
        for o in places[a.list]:
            if a.only in " ".join(o): print("  ".join(o))
    elif a.json: print(json.dumps(figures))
    else: print("\n".join(f"{k.replace('_', ' '):36}{v:>9,}" for k, v in figures.items()))


if __name__ == "__main__": main()

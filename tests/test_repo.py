"""The repository itself: notebooks as a stranger wants to find them, generated files up to date, nothing in it that
belongs to a machine."""
import ast, configparser, functools, json, re

import pytest
from packaging.requirements import Requirement

from conftest import BIN, ROOT, sh, tracked, warm

NOTEBOOKS = sorted(p for p in tracked() if p.suffix == ".ipynb")
RUNS = [p for p in NOTEBOOKS if p.parent.name == "runs"]
name = lambda p: p.relative_to(ROOT).as_posix()
read = lambda p: json.loads(p.read_text(encoding="utf-8"))
source = lambda c: "".join(c["source"])

TOKEN = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})")
MACHINE_PATH = re.compile(r"(?<![\w.:/<])/(?:work|root|home|Users|tmp|var|opt|mnt|content)/[\w.-]+")
MAX_NOTEBOOK = 500_000  # bytes


def texts(): # path, text
    "Every tracked file that is text."
    for p in tracked():
        if p.is_symlink() or p.suffix in (".ogg", ".wav", ".safetensors", ".png"): continue
        yield p, p.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_clean(path):
    nb = read(path)
    assert nb["metadata"]["kernelspec"]["name"] == "python3"
    assert set(nb["metadata"]) <= {"kernelspec"}, "widget state or other metadata is saved in it"
    ids = [c["id"] for c in nb["cells"]]
    assert len(set(ids)) == len(ids), "duplicate cell id"
    assert path.stat().st_size < MAX_NOTEBOOK, f"{path.stat().st_size} bytes"
    top = source(nb["cells"][0]) + "\n" + source(nb["cells"][1])
    assert re.search(r"^# .+\n+> .+", top, re.M), "no title with a quoted line under it"
    for c in nb["cells"]:
        assert source(c).strip(), f"cell {c['id']} is empty"
        assert c.get("execution_count") is None
        out = json.dumps(c.get("outputs", []))
        assert "data:audio" not in out and "audio/" not in out, f"cell {c['id']}: audio in the output"
        found = MACHINE_PATH.search(out)
        assert not found, f"cell {c['id']}: a machine path in the output: {found[0]}"
        assert not any(o["output_type"] == "error" for o in c.get("outputs", [])), (
            f"cell {c['id']}: an error is saved in it")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_imports_stand_in_cells_of_their_own(path):
    """What nbdev's own documentation commands execute is every cell that holds an import (unless it says `#| eval:
    false`): they would stumble over the rest of it."""
    for c in read(path)["cells"]:
        s = source(c)
        if c["cell_type"] != "code" or re.search(r"^#\| *eval: *false", s, re.M): continue
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "", s, flags=re.M))
        imports = lambda nodes: any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in nodes)
        if re.search(r"^#\| *export", s, re.M) and not imports(tree.body): continue
        code = (ast.Expr, ast.Assign, ast.With, ast.For, ast.Assert, ast.ClassDef)
        mixed = imports(ast.walk(tree)) and any(isinstance(n, code) for n in tree.body)
        assert not mixed, f"cell {c['id']}: imports mixed with other code"


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_run_notebook_has_its_parameters(path):
    tagged = [c for c in read(path)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1 and tagged[0]["cell_type"] == "code"
    found = re.search(r"^output_dir *=", source(tagged[0]), re.M)
    assert found, "no output_dir: run_notebook looks for the result there"


def test_exported_modules_and_clean_notebooks_are_up_to_date(tree):
    "Export and clean a copy: nothing changes, and the parameters tag is still there."
    for command in ("nbdev-export", "nbdev-clean"): sh(BIN/command, cwd=tree, check=True)
    changed = sh("git", "status", "--porcelain", cwd=tree, check=True).stdout
    diff = sh("git", "diff", "--stat", "-p", cwd=tree, check=True).stdout
    assert not changed.strip(), f"run make export; it changes\n{changed}\n{diff[:3000]}"
    for p in RUNS: assert '"parameters"' in (tree/p.relative_to(ROOT)).read_text(encoding="utf-8")


def test_readme_is_up_to_date(tree):
    warm.run("tools/docs.py", "readme", "--check", cwd=tree, check=True)


def test_nothing_in_it_belongs_to_a_machine_or_a_person():
    bad = []
    for p, s in texts():
        if TOKEN.search(s): bad.append(f"{name(p)}: a token")
        if p.parts[-2] != "tests" and (m := MACHINE_PATH.search(s)) and p.suffix != ".ipynb":
            bad.append(f"{name(p)}: {m[0]}")
        if re.search(r"(pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org)", s) and p.name != "test_repo.py":
            bad.append(f"{name(p)}: a registry's host")
    assert not bad, "\n".join(bad)


ROOMS = "core data record model measure training share run studio".split() # a room uses those before it


def place(module): # "model.cache" -> (room's number, module's number in it)
    room, name = module.split(".")
    file = next((ROOT/"nbs"/room).glob(f"[0-9][0-9]_{name}.ipynb"))
    return (ROOMS + ["testing"]).index(room), int(file.name[:2])


def ours_in(tree): # names of modules, "model.cache"
    "Which modules of the package a piece of Python imports, in functions too."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            m = re.fullmatch(r"voxtral_nb\.(\w+)(?:\.(\w+))?", node.module or "")
            if m: yield from [f"{m[1]}.{m[2]}"] if m[2] else [f"{m[1]}.{o.name}" for o in node.names]
        if isinstance(node, ast.Import):
            yield from (o.name.removeprefix("voxtral_nb.") for o in node.names if o.name.startswith("voxtral_nb."))


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.parent.name in ROOMS], ids=name)
def test_a_notebook_uses_only_what_stands_before_it(path):
    "Export and test cells alike; fixtures of `testing` may be used everywhere by tests."
    here, bad = (ROOMS.index(path.parent.name), int(path.name[:2])), []
    for c in read(path)["cells"]:
        if c["cell_type"] != "code" or re.search(r"^[ \t]*[%!]", source(c), re.M): continue
        for module in ours_in(ast.parse(source(c))):
            fixture = module.startswith("testing.") and not re.search(r"^#\| *export", source(c), re.M)
            if not fixture and place(module) > here: bad.append(f"cell {c['id']} imports {module}")
    assert not bad, bad


def test_the_number_of_a_notebook_is_its_own():
    numbers = [(p.parent.name, p.name[:2]) for p in NOTEBOOKS if p.parent.name in [*ROOMS, "testing"]]
    assert len(set(numbers)) == len(numbers), sorted(o for o in set(numbers) if numbers.count(o) > 1)


def defined(module): # "core.config" -> the names that it exports
    tree = ast.parse((ROOT/"voxtral_nb"/f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    return next(ast.literal_eval(n.value) for n in tree.body
                if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")


def test_the_front_door_offers_what_people_use():
    "Each name is public where it is defined, and none of them is loaded before it is asked for."
    import voxtral_nb
    names = """RunConfig train dry_run evaluate transcribe load_voxtral load_speech SpeechDataset Recorder Uploads
        sample_speech publish_model publish_dataset launch_demo deploy_demo Live run_notebook Studio Review
        draft_transcripts doctor""".split()
    assert sorted(voxtral_nb.__all__) == sorted(names) and set(names) <= set(dir(voxtral_nb))
    for module, offered in voxtral_nb._HOMES.items(): assert set(offered) <= set(defined(module)), module
    code = ("import sys, voxtral_nb; "
            "print(*sorted(m for m in sys.modules if m.startswith('voxtral_nb') or m in ('torch', 'yaml')))")
    assert sh(BIN/"python", "-c", code, cwd=ROOT, check=True).stdout.split() == ["voxtral_nb"]
    code = ("from voxtral_nb import RunConfig, train; import voxtral_nb.training.trainer as t; "
            "print(train is t.train, RunConfig(epochs=1))")
    assert warm(code, cwd=ROOT, check=True).stdout.strip() == "True RunConfig(epochs=1.0)"
    with pytest.raises(AttributeError, match="no attribute 'trian'"): voxtral_nb.trian


SECTION = {"Core": "core", "Data": "data", "Record": "record", "Model": "model", "Measure": "measure",
           "Training": "training", "Share": "share", "Run": "run", "Studio": "studio", "Testing": "testing"}


def linked(text, folder): # "[name](nbs/core/04_config.ipynb)" in rows of tables, with what stands in each row
    return re.findall(rf"^\|.*?\[(\w+)\]\(nbs/({folder}/[\w.]+)\)", text, re.M)


def test_readme_lists_the_modules_run_notebooks_and_commands_that_there_are():
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    ours = [p.relative_to(ROOT/"nbs").as_posix() for r in [*ROOMS, "testing"] for p in NOTEBOOKS if p.parent.name == r]
    assert [o for _, o in linked(text, f"(?:{'|'.join([*ROOMS, 'testing'])})")] == ours
    assert sorted(o for _, o in linked(text, "runs")) == sorted(f"runs/{p.name}" for p in RUNS)
    commands = {o.split("=")[0].strip() for o in settings("console_scripts")}
    for f in ("README.md", "CHANGELOG.md", "nbs/run/04_commands.ipynb"):
        found = set(re.findall(r"\bvoxtral-[a-z]+\b", (ROOT/f).read_text(encoding="utf-8")))
        assert found & {*commands} == commands, f"{f} does not name {commands - found}"
    for o in settings("console_scripts"):
        module, function = re.fullmatch(r"[\w-]+ = voxtral_nb\.([\w.]+):(\w+)", o).groups()
        assert function in defined(module), o


def settings(key): # lines of settings.ini
    cfg = configparser.ConfigParser(delimiters=["="], interpolation=None)
    cfg.read(ROOT/"settings.ini", encoding="utf-8")
    return [o.strip() for o in cfg["DEFAULT"][key].splitlines() if o.strip()]


@functools.cache
def modules(): # module -> its syntax tree
    return {p.relative_to(ROOT/"voxtral_nb").with_suffix("").as_posix().replace("/", "."):
            ast.parse(p.read_text(encoding="utf-8")) for p in sorted((ROOT/"voxtral_nb").glob("*/*.py"))
            if p.name != "__init__.py"}


def test_no_private_name_is_imported_from_another_module():
    bad = [f"{m} takes {a.name} from {n.module}" for m, tree in modules().items() for n in ast.walk(tree)
           if isinstance(n, ast.ImportFrom) and (n.level or (n.module or "").startswith("voxtral_nb"))
           for a in n.names if a.name.startswith("_") and not a.name.startswith("__")]
    assert not bad, "\n".join(bad)


def test_public_definitions_say_what_they_are():
    "A docstring for each function and class, and a comment behind each parameter."
    bad = []
    for m, tree in modules().items():
        if m.startswith("testing."): continue
        lines = (ROOT/"voxtral_nb"/f"{m.replace('.', '/')}.py").read_text(encoding="utf-8").splitlines()
        for n in tree.body:
            if not isinstance(n, (ast.FunctionDef, ast.ClassDef)) or n.name.startswith("_"): continue
            if any(ast.unparse(o) == "patch" for o in n.decorator_list): continue # a method: may be one of a library
            if not ast.get_docstring(n): bad.append(f"{m}.{n.name}: no docstring")
            if not isinstance(n, ast.FunctionDef): continue
            for a in [*n.args.posonlyargs, *n.args.args, *n.args.kwonlyargs, n.args.vararg, n.args.kwarg]:
                if a is None or a.arg in ("self", "cls"): continue
                if "#" not in lines[a.end_lineno-1]: bad.append(f"{m}.{n.name}: {a.arg} has no comment")
    assert not bad, "\n".join(bad)


def test_the_style_is_kept():
    r = sh(BIN/"ruff", "check", ".", "--output-format", "concise", cwd=ROOT)
    assert r.returncode == 0, r.stdout[-3000:]


def test_modules_import_what_they_use():
    "In a notebook, an import that only its tests make hides one that the exported module lacks."
    r = sh(BIN/"ruff", "check", "--isolated", "--select", "F821", "voxtral_nb", "--output-format", "concise", cwd=ROOT)
    assert r.returncode == 0, r.stdout[-3000:]


def test_no_error_outside_the_command_line_names_a_flag():
    "A message is written in Python's spelling; a command puts it into the shell's."
    from voxtral_nb.core.config import config_fields
    flags = {f.flag for f in config_fields().values()}
    def strings(node): return (o.value for o in ast.walk(node) if isinstance(o, ast.Constant) and type(o.value) is str)
    bad = [f"{m}:{n.lineno} {flag}" for m, tree in modules().items() if m not in ("run.commands", "run.flags")
           for n in ast.walk(tree) if isinstance(n, ast.Raise) for t in strings(n)
           for flag in re.findall(r"--[a-z][a-z-]+", t) if flag in flags]
    assert not bad, "\n".join(bad)


def test_layout():
    for f in ("README.md Makefile constraints.txt CHANGELOG.md CONTRIBUTING.md LICENSE settings.ini setup.py "
              "pyproject.toml _quarto.yml .ci/run .gitattributes").split():
        assert (ROOT/f).is_file(), f
    assert (ROOT/"nbs"/"_quarto.yml").is_symlink() and (ROOT/"nbs"/"_quarto.yml").resolve() == ROOT/"_quarto.yml"
    assert "Apache License" in (ROOT/"LICENSE").read_text()[:200]
    version = re.search(r'__version__ *= *"([^"]+)"', (ROOT/"voxtral_nb"/"__init__.py").read_text())[1]
    assert f"## {version}" in (ROOT/"CHANGELOG.md").read_text(), "CHANGELOG.md has nothing on this version"


def test_shipped_assets_are_small():
    assets = ROOT/"voxtral_nb"/"assets"
    for part in ("tiny", "speech"):
        assert sum(f.stat().st_size for f in (assets/part).rglob("*") if f.is_file()) < 4e6, part


def test_constraints_pin_every_requirement():
    pins = dict(l.split("==") for l in (ROOT/"constraints.txt").read_text().splitlines() if l and not l.startswith("#"))
    pins = {k.lower().replace("_", "-"): v for k, v in pins.items()}
    cfg = configparser.ConfigParser(delimiters=["="], interpolation=None)
    cfg.read(ROOT/"settings.ini", encoding="utf-8")
    needed = [Requirement(o) for k in ("requirements", "dev_requirements") for o in cfg["DEFAULT"][k].split()]
    assert len(needed) > 20
    for r in needed:
        assert (v := pins.get(r.name.lower().replace("_", "-"))), f"{r.name} is not pinned: make constraints"
        assert v in r.specifier, f"{r}: {v} is pinned"


def test_the_sidebar_lists_every_notebook():
    import yaml
    cfg = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))
    def files(o):
        if isinstance(o, str): yield from [o] if o.endswith(".ipynb") else [p for p in ours if p.startswith(f"{o}/")]
        elif isinstance(o, list): yield from (f for x in o for f in files(x))
        elif isinstance(o, dict): yield from (f for k, x in o.items() if k in ("href", "contents") for f in files(x))
    ours = sorted(p.relative_to(ROOT/"nbs").as_posix() for p in NOTEBOOKS)
    assert sorted(files(cfg["website"]["sidebar"]["contents"])) == ours

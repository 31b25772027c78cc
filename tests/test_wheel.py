"""What a person gets who installs the package without the repository: the wheel in its own environment, used from
an empty folder."""
import json, sysconfig, zipfile

import pytest

from conftest import BIN, last_json, sh
from warm import Warm


@pytest.fixture(scope="module")
def wheel(shared, tree):
    "The wheel, built from the source distribution, so that what the latter lacks is missing from both."
    build = BIN/"python", "-m", "build", "--no-isolation"
    out = shared("dist", lambda out: sh(*build, "--outdir", out, tree, check=True))
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def venv(wheel, shared):
    """A new environment with the wheel in it; its dependencies are those of the environment that runs the tests, so
    this takes seconds."""
    def make(new):
        sh(BIN/"python", "-m", "venv", "--without-pip", new, check=True)
        packages = next((new/"lib").glob("python*"))/"site-packages"
        # a path only: its own .pth files, and so the editable install, are not followed
        (packages/"dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        sh(BIN/"python", "-m", "pip", "--python", new/"bin"/"python", "install", "--no-deps", "--no-index", wheel,
           env=dict(PYTHONPATH=""), check=True)  # pip counts what a PYTHONPATH shows as installed
    return shared("venv", make)


@pytest.fixture
def run(venv, tmp_path):
    "Run a script of the new environment in an empty folder."
    env = dict(PATH="/usr/bin:/bin", PYTHONPATH="", HOME=str(tmp_path))
    return lambda script, *args, **kw: sh(venv/"bin"/script, *args, cwd=tmp_path, env=env, **kw)


@pytest.fixture(scope="module")
def loaded(venv):
    "Where the package of the new environment is loaded."
    warm = Warm(str(venv/"bin"/"python"), PYTHONPATH="")
    yield warm
    warm.close()


@pytest.fixture
def do(venv, loaded, tmp_path):
    "The same as `run`, without the seconds that the imports take; kernels too."
    env = dict(PATH="/usr/bin:/bin", PYTHONPATH="", HOME=str(tmp_path), JUPYTER_PATH=loaded.kernels, **loaded.again)
    return lambda script, *args: loaded.run(venv/"bin"/script, *args, cwd=tmp_path, env=env, check=True)


def test_wheel_carries_assets_and_run_notebooks(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for n in ("tiny/model.safetensors tiny/config.json tiny/tekken.json speech/accent_train.jsonl "
              "speech/accent_eval.jsonl phrases/mt.txt runs/train_lora.ipynb runs/train_full.ipynb "
              "runs/evaluate.ipynb constraints.txt").split():
        assert f"voxtral_nb/assets/{n}" in names, n
    assert sum(n.startswith("voxtral_nb/assets/speech/") and n.endswith(".ogg") for n in names) > 300
    assert not [n for n in names if n.startswith(("tests", "nbs", "tools", "voxtral_nb/testing"))]
    # make_tiny makes the shipped assets, with fixtures that a user does not get
    assert not [n for n in names if "make_tiny" in n]
    assert zipfile.ZipFile(wheel).fp.seek(0, 2) < 9e6


def test_it_is_the_wheel_that_is_imported(run, venv):
    r = run("python", "-c", "import voxtral_nb.run.notebooks as r; print(r.__file__); print(*r.notebooks().values())",
            check=True)
    assert all(o.startswith(str(venv)) for o in r.stdout.split()), r.stdout


@pytest.mark.parametrize("script", ["voxtral-train", "voxtral-eval", "voxtral-publish", "voxtral-run", "voxtral-demo",
                                    "voxtral-data", "voxtral-studio", "voxtral-doctor"])
def test_help(run, script):
    assert "examples:" in run(script, "--help", check=True).stdout


def test_train_and_evaluate_from_an_empty_folder(do, tmp_path):
    short = "--max-steps 1 --batch-size 2 --max-train-clips 2 --max-eval-clips 2 --max-new-tokens 8".split()
    r = last_json(do("voxtral-train", "--model-id", "tiny", "--output-dir", "run", *short).stdout)
    assert 0 <= r["wer_after"] and (tmp_path/"run"/"final-model"/"adapter_model.safetensors").is_file()
    data = json.loads((tmp_path/"run"/"training_config.json").read_text())["config"]["eval_data"]
    r = last_json(do("voxtral-eval", "run/final-model", data, "--max-eval-clips", "2").stdout)
    assert r["n_clips"] == 2 and (tmp_path/"voxtral-eval.json").is_file()


def test_run_notebook_from_an_empty_folder(do, tmp_path):
    short = "--max-eval-clips 2 --max-new-tokens 8".split()
    r = last_json(do("voxtral-run", "evaluate", "--output-dir", "nb", *short).stdout)
    assert r["n_clips"] == 2 and (tmp_path/r["notebook"]).is_file()

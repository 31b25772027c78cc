"""Training on a stream of a Hub, as processes: killed and resumed at the same clip, and two that share it. The clips
are augmented, and a resumed run hears them changed in the same way."""
import json, signal, subprocess
from pathlib import Path

import pyarrow as pa, pyarrow.parquet as pq, pytest
from datasets import Audio, Features, Value

from conftest import BIN, warm
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.share.cards import model_card
from voxtral_nb.testing.fake_hub import FakeHub

RUN = """
import os, signal, sys
from transformers import TrainerCallback
from voxtral_nb.core.config import RunConfig
from voxtral_nb.training.order import LiveClips
from voxtral_nb.training.trainer import train

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)

was, rank = LiveClips.__getitems__, os.environ.get("RANK", "0")
def noted(self, numbers):
    rows = was(self, numbers)
    with open(f"{sys.argv[1]}-{rank}.txt", "a") as f:
        f.writelines(" ".join([r["id"], *r["augmented"]]) + "\\n" for r in rows)
    return rows
LiveClips.__getitems__ = noted
stream = dict(streaming=True, eval_fraction=0., shuffle_buffer=8, augment="speed,noise") if "=" in sys.argv[5] else {}
train(RunConfig(model_id="tiny", device="cpu", train_data=sys.argv[5], on_bad="skip", **stream,
                max_steps=int(sys.argv[3]), eval_every=2, batch_size=2, learning_rate=2e-3, max_new_tokens=8,
                num_workers=int(sys.argv[4]), logging_steps=1, tracking="none", resume="auto", output_dir=sys.argv[1]),
      callbacks=[Kill()])
"""


def parquet(folder, rows, files=2):
    f = Features({"audio": Audio(), "text": Value("string"), "language": Value("string")})
    (folder/"data").mkdir(parents=True)
    for k in range(files):
        part = rows[k::files]
        audio = pa.array([dict(bytes=b, path=name) for name, b, _ in part], f.arrow_schema.field("audio").type)
        table = pa.table([audio, [t for *_, t in part], ["en"]*len(part)], schema=f.arrow_schema)
        pq.write_table(table, folder/f"data/train-{k:05d}-of-{files:05d}.parquet")


def spoken(n):
    "The first sample clips: (name, bytes, text)."
    listed = Path(sample_speech("accent_train"))
    rows = [json.loads(o) for o in listed.read_text().splitlines()[:n]]
    return [(r["audio_path"], (listed.parent/r["audio_path"]).read_bytes(), r["text"]) for r in rows]


def push(hub, name, folder):
    "What somebody does while a run is stopped: other files take the place of those in a dataset."
    hub.run("import sys; from huggingface_hub import HfApi; HfApi().upload_folder(folder_path=sys.argv[2], "
            "repo_id=sys.argv[1], repo_type='dataset')", name, str(folder), HF_TOKEN=hub.token("me"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    "Two small datasets; a clip of one cannot be read."
    root, rows = tmp_path_factory.mktemp("hub"), spoken(41)
    parquet(root/"say", [("torn.ogg", rows[40][1][:60], "torn"), *rows[:24]])
    parquet(root/"more", rows[24:40])
    with FakeHub(datasets={"me/say": root/"say", "me/more": root/"more"}) as hub:
        hub.root = root
        yield hub


def run(hub, out, kill=0, steps=6, workers=0, launch=(), data="me/say=2,me/more=1"):
    script = out.with_suffix(".py")
    script.write_text(RUN)
    env = hub.env(OMP_NUM_THREADS="1", VOXTRAL_NB_CACHE=str(out.parent/"cache"))
    return subprocess.run([*warm.python, *map(str, [*launch, script, out, kill, steps, workers, data])], env=env,
                          capture_output=True, text=True)


def losses(out):
    h = json.loads((out/"trainer_state.json").read_text())["log_history"]
    return [o["loss"] for o in h if "loss" in o]


def clips(out, rank=0): return Path(f"{out}-{rank}.txt").read_text().splitlines()
def ids(out, rank=0): return [o.split()[0] for o in clips(out, rank)]


def test_killed_and_resumed_at_the_same_clip(hub, tmp_path):
    """Killed after step 3, a run goes on from its checkpoint of step 2, at the fifth clip; a worker process that has
    read ahead changes nothing, and neither does a push to the dataset in between."""
    whole, again = tmp_path/"whole", tmp_path/"again"
    r = run(hub, whole)
    assert r.returncode == 0, r.stderr[-3000:]
    killed = run(hub, again, kill=3, workers=1)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    place = json.loads((again/"checkpoint-2/stream_0.json").read_text())
    assert sum(place["stream"]["counts"].values()) == 4  # not what was read ahead
    parquet(tmp_path/"other", spoken(24)[::-1])
    push(hub, "me/say", tmp_path/"other")
    ahead = len(clips(again))
    assert clips(again) == clips(whole)[:ahead] and ahead >= 6
    r = run(hub, again, workers=1)
    push(hub, "me/say", hub.root/"say") # for the tests below
    assert r.returncode == 0 and "resuming from checkpoint-2" in r.stdout, r.stderr[-3000:]
    assert clips(again)[ahead:ahead + 8] == clips(whole)[4:12]
    assert losses(again) == losses(whole) and len(losses(whole)) == 6
    assert any("noise" in o for o in clips(whole)) and any("speed" in o for o in clips(whole))
    was, now = (json.loads((o/"train_results.json").read_text())["stream"] for o in (whole, again))
    assert was == now and now["clips"] == 12
    say, more = now["sources"]["me/say:train"], now["sources"]["me/more:train"]
    assert say["clips"] + more["clips"] == 12 and 5 < say["clips"] < 11 and len(say["commit"]) == 40
    card = str(model_card(again, "me/model"))
    assert f"me/say:train at {say['commit'][:7]}: {say['clips']}, me/more:train at" in card, card
    assert "me/say=2,me/more=1" in card  # how to repeat it


def test_two_processes_share_a_stream(hub, tmp_path):
    """Two processes see different clips, and together all of them."""
    out = tmp_path/"two"
    launch = (BIN/"torchrun", "--nproc_per_node", 2, "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0",
              "--no-python", *warm.python)
    r = run(hub, out, steps=6, launch=launch)
    assert r.returncode == 0, r.stderr[-3000:]
    a, b = ({*ids(out, k)} for k in (0, 1))
    assert not a & b and len(ids(out, 0)) == len(ids(out, 1)) == 12
    assert len(a | b) > 18, len(a | b)
    told = json.loads((out/"train_results.json").read_text())["stream"]
    assert told["clips"] == 24
    assert told["skipped"] == told["sources"]["me/say:train"]["skipped"] >= 1, told


def test_a_run_resumed_after_a_push_reads_what_it_began_with(tmp_path):
    "Of a dataset that is not streamed: the clips, held out ones too, are those of the commit on record."
    parquet(tmp_path/"was", spoken(16), files=1)
    parquet(tmp_path/"now", spoken(40)[20:], files=1)
    whole, again = tmp_path/"whole", tmp_path/"again"
    with FakeHub(datasets={"me/moving": tmp_path/"was"}) as hub:
        how = dict(steps=4, data="me/moving")
        r = run(hub, whole, **how)
        assert r.returncode == 0, r.stderr[-3000:]
        assert run(hub, again, kill=3, **how).returncode == -signal.SIGKILL
        push(hub, "me/moving", tmp_path/"now")
        r = run(hub, again, **how)
    assert r.returncode == 0 and "resuming from checkpoint-2" in r.stdout, r.stderr[-3000:]
    was, then = (json.loads((o/"training_config.json").read_text())["data"] for o in (whole, again))
    assert was == then and len(was["train"]["commit"]) == 40
    assert losses(again) == losses(whole) and len(losses(whole)) == 4
    said = [[o["reference"] for o in json.loads((o/"eval_results.json").read_text())["after"]["clips"]]
            for o in (whole, again)]
    assert said[0] == said[1] and said[0]


def test_a_dry_run_looks_at_the_first_clips(hub, tmp_path):
    """What a streamed run would take is told from its first clips, and they are not called all of them."""
    code = """
from voxtral_nb.core.config import RunConfig
from voxtral_nb.training.plan import dry_run
cfg = RunConfig(model_id="tiny", device="cpu", train_data="me/more", streaming=True, max_steps=50, batch_size=4,
                eval_fraction=.3, cache_dir="cache", tracking="none", output_dir="run", shuffle_buffer=8,
                augment="noise")
r = dry_run(cfg)
assert r.steps == r.epoch_steps == 50, r"""
    (tmp_path/"dry.py").write_text(code)
    said = subprocess.run([*warm.python, "dry.py"], cwd=tmp_path, env=hub.env(VOXTRAL_NB_CACHE=str(tmp_path)),
                          capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-3000:]
    assert "a stream, whose first" in said.stdout and "each clip passes once" in said.stdout, said.stdout
    assert not (tmp_path/"run").exists()

"""The Studio's work in processes: it outlives the page, can be found and stopped from anywhere, and says what went
wrong. What needs a kernel to end, a signal from outside, a full disk or a Hub that refuses."""
import json, os, shutil, signal, sys

import pytest

from browser import wait_for
from conftest import BIN, sh, small_disk, warm
from voxtral_nb.studio.history import history
from voxtral_nb.studio.jobs import StudioError, is_held
from voxtral_nb.studio.project import MACHINES, Project, SettingsError
from voxtral_nb.testing.fake_hub import FakeHub
from voxtral_nb.training.checkpoints import checkpoint_problem, checkpoints

TINY = MACHINES["tiny"].settings | dict(device="cpu", max_train_clips=40, max_eval_clips=4, max_new_tokens=12,
                                       gradient_accumulation_steps=1, cache="none")
START = """
import json, sys
from voxtral_nb.studio.project import Project
print(Project(sys.argv[1]).start("train", json.loads(sys.argv[2]), name=sys.argv[3]).pid is None)
"""
LOOK = """
import sys, time
began = time.process_time()
from voxtral_nb.studio.project import Project
p = Project(sys.argv[1])
runs, clips = p.runs(), len(p.speech or ())
print(len(runs), runs[0].state, runs[0].step > 0, clips, time.process_time() - began, "torch" in sys.modules)
"""


def python(code, *args, **how): return sh(BIN/"python", "-c", code, *args, check=True, **how).stdout.split()


def until(ready): return wait_for(ready, every=.05)


@pytest.fixture(scope="module", autouse=True)
def warm_jobs():
    "What the Studio starts begins where the package is loaded."
    with pytest.MonkeyPatch.context() as m:
        for k, v in warm.again.items(): m.setenv(k, v)
        m.setattr(sys, "executable", warm.again["WARM_PYTHON"])
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    "A project whose run was started by an interpreter that is gone, and stopped by another one."
    p = Project(tmp_path_factory.mktemp("studio")/"voice")
    os.environ["VOXTRAL_NB_HISTORY"] = str(p.folder.parent/"history.jsonl")
    warm(START, p.folder, json.dumps(TINY | dict(max_steps=400, eval_every=200)), "a", check=True)
    r = until(lambda: (r := p.run("a")).step >= 3 and r)
    assert (r.state, r.total, r.resumable, r.error) == ("running", 400, False, None) and r.eta > 0
    assert r.job.pid != os.getpid() and os.getsid(r.job.pid) == r.job.pid, "its own session"
    assert python(LOOK, p.folder)[:3] == ["1", "running", "True"]
    with pytest.raises(StudioError, match="is running"): p.resume("a")
    with pytest.raises(StudioError, match="is running"): p.delete("a", confirm=True)
    python("import sys; from voxtral_nb.studio.project import Project; Project(sys.argv[1]).stop('a')", p.folder)
    assert p.run("a").stopping or p.run("a").state == "stopped"
    until(lambda: p.run("a").state != "running")
    yield p
    os.environ["VOXTRAL_NB_HISTORY"] = "off"


def test_a_run_outlives_its_page_and_stops_with_a_checkpoint(stopped):
    r = stopped.run("a")
    assert (r.state, r.resumable, r.error) == ("stopped", True, None)
    last = checkpoints(r.folder)[-1]
    assert last.name == f"checkpoint-{r.step}" and not checkpoint_problem(last)
    assert [s for s, _ in r.loss] == [*range(1, r.step + 1)] and r.evals[0]["step"] == 0 and r.rates_before["wer"] > 0


def test_resumed_and_killed(stopped):
    "It goes on from the checkpoint; killed from outside, it says so, and its neighbour is not concerned."
    p, before = stopped, stopped.run("a").step
    job = p.resume("a")
    until(lambda: p.run("a").step > before + 2)
    assert "resuming from checkpoint" in "\n".join(p.job(job.id).lines) + (p.run("a").folder/"training.log").read_text()
    os.kill(p.job(job.id).pid, signal.SIGKILL)
    r = until(lambda: (r := p.run("a")).state != "running" and r)
    assert (r.state, r.resumable) == ("killed", True)
    assert "memory ran out" in r.error and "Resume continues" in r.next_step
    assert [o.state for o in p.jobs("train", "a")] == ["killed", "stopped"]
    killed, first = history()
    assert (killed.state, first.state, first.languages, first.model) == ("killed", "stopped", ["en"], "tiny")
    assert first.run == "a" and first.minutes > 0 and first.seconds > 0 and "memory" in killed.error
    (p.folder/"runs"/"half").mkdir()
    (p.folder/"runs"/"half"/"training_config.json").write_text('{"config": {"model')
    half = next(o for o in p.runs() if o.name == "half")
    assert half.state == "failed" and "training_config.json is damaged" in half.error and "trash" in half.next_step


def test_a_large_project_opens_in_seconds(stopped, tmp_path):
    p = Project(tmp_path/"large")
    for i in range(20): shutil.copytree(stopped.folder/"runs"/"a", p.folder/"runs"/f"r{i}")
    row = dict(text="three seven one two nine", language="en", speaker="s", duration=2.5)
    rows = (json.dumps(dict(audio_path=f"wavs/{i}.wav") | row) + "\n" for i in range(2000))
    (p.folder/"speech"/"data.jsonl").write_text("".join(rows))
    runs, state, _, clips, seconds, heavy = python(LOOK, p.folder)
    assert (runs, state, clips, heavy) == ("20", "killed", "2000", "False") and float(seconds) < 10


def test_what_a_run_needs(tmp_path):
    "Other settings end the dry run; its answer is found again by another page."
    p, settings = Project(tmp_path/"voice"), TINY | dict(max_steps=5)
    first = p.needs(settings | dict(max_steps=7))
    assert first.state == "running"
    n = p.needs(settings)
    until(lambda: p.job(first.job.id).state == "killed")
    assert n.job.id != first.job.id
    n = until(lambda: (n := p.needs(settings)).state != "running" and n)
    assert (n.state, n.steps, n.fits) == ("done", 5, True) and n.seconds > 0 and n.memory_gb > 0
    assert Project(p.folder).needs(settings).job.id == n.job.id and not [*(p.folder/"runs").iterdir()]


def test_wrong_settings_start_nothing(tmp_path):
    p = Project(tmp_path/"voice")
    wrong = dict(learning_rate="fast", lora_r="0", epochs="-1", batch_size="many", language="English", method="lorra",
                 precision="fp8", eval_fraction="2", device="gpu", seed="-3", warmup_fraction="1", lora_dropout="1.5",
                 max_steps="0", weight_decay="-1", normalizer="best", optimizer="adam", packing="on", cache="yes",
                 on_bad="stop", gradient_checkpointing="maybe")
    with pytest.raises(SettingsError) as e: p.start("train", dict(model_id="tiny") | wrong)
    assert sorted(e.value.fields) == sorted(wrong) and all(e.value.fields.values())
    assert p.runs() == [] and p.jobs() == []


def test_no_space(tmp_path):
    "A file system of 1 MB: the run says that it is full, and what to do."
    with small_disk(tmp_path/"disk", "1m") as disk:
        p = Project(disk/"voice")
        p.start("train", TINY | dict(max_steps=1, eval_before=False), name="a")
        r = until(lambda: (r := p.run("a")).state != "running" and r)
        assert r.state == "failed" and "Free some space" in r.next_step and r.details
        until(lambda: not is_held(r.job.folder)) # it writes its end before it ends
        sh("mount", "-o", "remount,ro", disk, check=True)
        p = Project(disk/"voice")
        assert p.run("a").state == "failed" and p.choices == {}, "what is there can be read"
        with pytest.raises(StudioError, match="Read-only"): p.set(language="pt")
        with pytest.raises(StudioError, match="Read-only"): p.start("check", dict(data="speech"))
        with pytest.raises(StudioError, match="needs a folder that you may write to"): Project(disk/"other")


def test_publishing_without_a_token_without_scope_and_offline(tmp_path, monkeypatch):
    p = Project(tmp_path/"voice")
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.dataset import SpeechDataset
    source = SpeechDataset.open(sample_speech("accent_eval"))
    d = SpeechDataset.create(p.folder/"speech")
    for row in source[:2]: d.append(source.audio_file(row), row["text"], language="en", license="cc0-1.0")
    with FakeHub() as hub:
        for k in ("HF_TOKEN", "HF_HUB_OFFLINE"): monkeypatch.delenv(k, raising=False)
        for k, v in hub.env().items(): monkeypatch.setenv(k, v)
        def publish(**env):
            for k, v in env.items(): monkeypatch.setenv(k, v)
            return p.start("publish", dict(folder="speech", repo="voice", verify=False))
        jobs = dict(none=publish(), read=publish(HF_TOKEN=hub.token("me", "read")),
                    offline=publish(HF_TOKEN=hub.token("me"), HF_ENDPOINT="http://127.0.0.1:9"),
                    done=publish(HF_ENDPOINT=hub.endpoint))
        jobs = {k: until(lambda: (o := p.job(v.id)).state != "running" and o) for k, v in jobs.items()}
        states = {k: o.state for k, o in jobs.items()}
        assert states == dict(none="failed", read="failed", offline="failed", done="done")
        assert "there is no token" in jobs["none"].error and "hf auth login" in jobs["none"].next_step
        assert "write" in jobs["read"].error + jobs["read"].next_step
        assert "cannot be reached" in jobs["offline"].error and "network" in jobs["offline"].next_step
        assert jobs["done"].result["repo_id"] == "me/voice"
        files = [f.read_text(errors="ignore") for f in p.folder.rglob("*") if f.is_file()]
        assert not any("hf_" in o for o in files)

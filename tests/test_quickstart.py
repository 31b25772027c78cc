"""What a stranger does first: the quickstart, and full fine-tuning on the same speech."""
import json
from pathlib import Path

from conftest import ROOT, last_json, warm
from voxtral_nb.run.notebooks import run_notebook


def test_quickstart(tmp_path):
    "As make calls it: the unheard accent falls from over 40% to under 10% WER, and the last line is JSON."
    r = warm.run(ROOT/"tools"/"quickstart.py", "--output-dir", tmp_path/"run", cwd=tmp_path, check=True, timeout=900,
                 env=warm.again)
    out = last_json(r.stdout)
    assert set(out) == {"wer_before", "wer_after", "run_dir"}
    assert out["wer_before"] > .40 and out["wer_after"] < .10, out
    run = Path(out["run_dir"])
    for f in ("training_config.json trainer_state.json train_results.json eval_results.json training.log loss.png "
              "wer.png result.json train_lora.ipynb final-model/adapter_model.safetensors "
              "best-model/adapter_model.safetensors").split():
        assert (run/f).stat().st_size > 0, f
    assert not [c for c in json.loads((run/"train_lora.ipynb").read_text())["cells"] for o in c.get("outputs", [])
                if o["output_type"] == "error"]


def test_realtime(tmp_path, warm_kernels):
    r = run_notebook("train_realtime", output_dir=str(tmp_path/"run"), max_train_clips=24, max_eval_clips=6,
                     verbose=False)
    assert {"wer"} <= set(r["rates_after"])
    assert "RunConfig" in (tmp_path/"run"/"train_realtime.ipynb").read_text()


def test_full_fine_tuning(tuned):
    "In a quarter of the notebook's steps the errors fall by more than half."
    r = json.loads((tuned/"result.json").read_text())
    assert r["rates_before"]["wer"] > .40 and r["rates_after"]["wer"] < r["rates_before"]["wer"]/2, r
    assert (tuned/"final-model"/"model.safetensors").is_file()


def test_evaluate_notebook(tmp_path, warm_kernels):
    "One model, and two side by side."
    r = run_notebook("evaluate", output_dir=str(tmp_path/"one"), max_eval_clips=10)
    assert r["n_clips"] == 10 and r["wer"] > .2 and r["baseline_wer"] is None
    report = json.loads((tmp_path/"one"/"eval_results.json").read_text())
    assert report["rates"]["wer"] == r["wer"] and len(report["clips"]) == 10
    r = run_notebook("evaluate", baseline_id="tiny", output_dir=str(tmp_path/"two"), max_eval_clips=4, verbose=False)
    assert r["wer"] == r["baseline_wer"]

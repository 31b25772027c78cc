"""The notebook that makes what ships: a few steps of it, for the files it leaves."""
import json

from voxtral_nb.model.models import load_voxtral
from voxtral_nb.run.notebooks import run_notebook


def test_it_writes_a_model_and_speech(tmp_path, warm_kernels):
    r = run_notebook("make_tiny", output_dir=str(tmp_path/"made"), steps=2, n_clips=20, n_accent=12, n_eval=8,
                     batch_size=2, max_new_tokens=4)
    assert r["steps"] == 2 and r["wer_base"] > 0
    model, processor = load_voxtral(str(tmp_path/"made"/"tiny"), verbose=False)
    assert 1e6 < model.num_parameters() < 2e6
    for part, n in dict(base=4, accent_train=12, accent_eval=8).items():
        rows = [json.loads(l) for l in (tmp_path/"made"/"speech"/f"{part}.jsonl").read_text().splitlines()]
        assert len(rows) == n and all((tmp_path/"made"/"speech"/o["audio_path"]).stat().st_size for o in rows)

"""Real human speech: Debian's recorded Asterisk prompts, one person, 8 kHz, up to more than a minute long. The tiny
model has to learn from them."""
import json, math

import soundfile as sf

from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.testing.speech import asterisk_prompts
from voxtral_nb.training.trainer import train


def test_full_training_on_recorded_prompts_halves_the_loss(tmp_path):
    prompts = asterisk_prompts("en")
    assert len(prompts) > 500 and prompts.dropped, prompts
    assert not any("[" in text or "(" in text for _, text in prompts)
    ds = SpeechDataset.create(tmp_path/"prompts")
    some = [o for i,o in enumerate(prompts) if not i % 12 or sf.info(o[0]).duration > 30]
    for path, text in some: ds.append(path, text, language="en", speaker="allison")
    assert len(SpeechDataset.open(tmp_path/"prompts")) == len(some)
    assert max(r["duration"] for r in ds) > 60 and sf.info(prompts[0][0]).samplerate == 8000
    r = train(RunConfig(model_id="tiny", method="full", learning_rate=1e-3, train_data=str(tmp_path/"prompts"),
                        eval_fraction=.05, max_transcript_tokens=1200, batch_size=8, epochs=2, max_new_tokens=16,
                        eval_clips=2, tracking="none", output_dir=str(tmp_path/"run")))
    history = json.loads((tmp_path/"run"/"trainer_state.json").read_text())["log_history"]
    losses = [o["loss"] for o in history if "loss" in o]
    before = next(o["eval_loss"] for o in history if "eval_loss" in o)
    assert losses[-1] < losses[0]/2, losses
    assert r.eval_loss < before and math.isfinite(r.rates_after["wer"])
    for f in ("training_config.json train_results.json eval_results.json training.log loss.png wer.png "
              "final-model/model.safetensors").split(): # on six clips the WER may not fall so soon: no best-model
        assert (tmp_path/"run"/f).stat().st_size > 0, f
    data = json.loads((tmp_path/"run"/"training_config.json").read_text())["data"]
    assert data["train"]["clips"] + data["eval"]["clips"] == len(some)

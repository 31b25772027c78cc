"""final-model/ belongs to the user: transformers and peft alone load it, in a process where voxtral_nb cannot be
imported, and it transcribes the same."""
import json
from pathlib import Path

import pytest

from conftest import BIN, last_json, sh
from voxtral_nb.core.config import RunConfig
from voxtral_nb.measure.evaluation import transcribe
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train

WITHOUT_VOXTRAL_NB = '''
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "voxtral_nb": raise ImportError("voxtral_nb is blocked")
sys.meta_path.insert(0, Blocked())
try: import voxtral_nb
except ImportError: pass
else: sys.exit("voxtral_nb can be imported")
import soundfile as sf, torch
from transformers import AutoProcessor, VoxtralForConditionalGeneration
folder, method, clips = sys.argv[1], sys.argv[2], sys.argv[3:]
processor = AutoProcessor.from_pretrained(folder)
if method == "full": model = VoxtralForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
else:
    from peft import PeftConfig, PeftModel
    base = PeftConfig.from_pretrained(folder).base_model_name_or_path
    base = VoxtralForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder)
model.eval()
fe = processor.feature_extractor
seconds, texts = fe.chunk_length, []
for clip in clips:
    x, sr = sf.read(clip, dtype="float32")
    # transformers' default window is that of the real model, 30 s; the tiny model's is in its feature extractor
    batch = processor.apply_transcription_request(
        audio=[x], sampling_rate=sr, format=["wav"], language="en", model_id=folder,
        audio_kwargs=dict(pad_to_multiple_of=seconds*sr, max_source_positions=seconds*100))
    with torch.no_grad(): out = model.generate(**batch, max_new_tokens=64, do_sample=False)
    texts.append(processor.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)[0].strip())
print(json.dumps(texts))
'''


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_loads_without_this_package_and_transcribes_the_same(method, tmp_path):
    rate = dict(lora=2e-3, full=1e-3)[method]
    r = train(RunConfig(model_id="tiny", method=method, learning_rate=rate,
                        train_data=str(sample_speech("accent_train")), eval_data=str(sample_speech("accent_eval")),
                        max_steps=60, batch_size=12, max_eval_clips=8, tracking="none", eval_before=False,
                        output_dir=str(tmp_path/"run")))
    rows = [json.loads(l) for l in sample_speech("accent_eval").read_text().splitlines()][:12]
    clips = [str(sample_speech("accent_eval").parent/o["audio_path"]) for o in rows]
    model, processor = load_voxtral(str(r.final_model), device="cpu", verbose=False)
    ours = transcribe(model, processor, clips, language="en", max_new_tokens=64, verbose=False)
    (tmp_path/"transcribe.py").write_text(WITHOUT_VOXTRAL_NB)
    theirs = last_json(sh(BIN/"python", tmp_path/"transcribe.py", Path(r.final_model).absolute(), method, *clips,
                         cwd=tmp_path, check=True).stdout)
    assert theirs == ours
    # it has learned something, so equal texts mean something
    assert sum(a == o["text"] for a, o in zip(ours, rows)) >= 3, ours

"""What drafts save: keystrokes of correcting against typing, and clips to a word error rate (WER) in the order of
expected gain against a random one.

    python benchmarks/drafts.py [--orders sure random] [--clips 16 32 64 96] [--seeds 0 1 2] [--steps 80] [--smoke]

The tiny Voxtral, the sample speech (300 clips of an accent that it never heard, 80 others to measure). The first clips
are typed by hand, at random; a model is trained on them and drafts the rest. Then clips are corrected in three orders:
least sure first (`review_order`), most words expected to be wrong first, at random; after each number of clips a model
is trained from the beginning on all that is there, always with the same number of steps, and its WER measured.
Keystrokes are the least edits of characters from the draft to the transcript, and one to accept; typing costs the
transcript's characters and one. What is done is written after each model, and an interrupted benchmark goes on."""
import argparse, json, random, statistics, tempfile
from pathlib import Path

from measure import RESULTS, setting, table, write

ORDERS = ("sure", "errors", "random")


def trained(rows, steps, seed, out, few=None):
    "A model trained on rows; its report, of the first clips or of all, and where it lies."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.trainer import train
    data = Path(out)/"part.jsonl"
    data.write_text("".join(json.dumps(o) + "\n" for o in rows))
    cfg = RunConfig(model_id="tiny", train_data=str(data), eval_data=str(sample_speech("accent_eval")),
                    eval_before=False, max_eval_clips=few,
                    max_steps=steps, batch_size=8, learning_rate=2e-3, seed=seed, device="cpu", tracking="none",
                    num_workers=0, cache_dir=f"{out}/cache", save_total_limit=1, output_dir=f"{out}/run", language="en")
    r = train(cfg, verbose=False)
    return r.after, r.final_model


def drafted(model, rows):
    "Drafts of clips by a model: text and words with their confidences."
    from voxtral_nb.measure.drafting import word_confidences
    from voxtral_nb.measure.evaluation import decode_clips
    from voxtral_nb.model.collator import VoxtralDataCollator
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.record.drafts import draft_row
    model, processor = load_voxtral(str(model), device="cpu", verbose=False)
    collate = VoxtralDataCollator(processor)
    ask = [dict(audio=o["audio_path"], language="en") for o in rows]
    out = decode_clips(model, collate, ask, [o["duration"] for o in rows], range(len(rows)), batch_size=8,
                       max_new_tokens=60)
    texts = [word_confidences(collate.prompt, out[i].tokens, out[i].sure, "en") for i in range(len(rows))]
    return [draft_row(o["audio_path"], 0, o["duration"], text, words, 0. if out[i].cut else out[i].sure[-1])
            for i,(o,(text, words)) in enumerate(zip(rows, texts))]


def in_order(order, rows, drafts, known, seed):
    "The rows in the order of correcting."
    from voxtral_nb.record.drafts import review_order
    by = {o["audio_path"]: o for o in rows}
    if order == "random": return random.Random(seed).sample(rows, len(rows))
    if order == "errors":
        wrong = lambda d: sum(1 - w["confidence"] for w in d["words"])
        return [by[d["audio_path"]] for d in sorted(drafts, key=wrong, reverse=True)]
    return [by[d["audio_path"]] for part in review_order(drafts, known) for d in part]


def one_seed(result, seed, a, save):
    "Start, draft, correct in each order, measure."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.dataset import SpeechDataset
    from voxtral_nb.measure.drafting import keystrokes as keys
    ds = SpeechDataset.open(sample_speech("accent_train"))
    rows = [dict(audio_path=str(ds.audio_file(o)), text=o["text"], duration=o["duration"], language="en") for o in ds]
    rows, few = random.Random(seed).sample(rows, len(rows))[:a.pool], 2 if a.smoke else None
    start, rest = rows[:a.start], rows[a.start:]
    with tempfile.TemporaryDirectory() as tmp:
        report, model = trained(start, a.steps, seed, tmp, few)
        drafts = drafted(model, rest)
        typed = [keys("", o["text"]) for o in rest]
        corrected = [keys(d["text"], o["text"]) for d,o in zip(drafts, rest)]
        mine = result["seeds"].setdefault(str(seed), dict(start_wer=report.wer, curves={o: {} for o in a.orders},
                                                          keystrokes={}))
        mine["keystrokes"][str(a.start)] = sum(corrected)/sum(typed)
        save()
    for k in a.clips:
        for order in a.orders:
            if str(k) in mine["curves"].setdefault(order, {}): continue
            chosen = in_order(order, rest, drafts, [o["text"] for o in start], seed)
            with tempfile.TemporaryDirectory() as tmp:
                report, model = trained(start + chosen[:k], a.steps, seed, tmp, few)
                if order == "sure": # what is left to correct, drafted again by the better model
                    left = chosen[k:]
                    better = [keys(d["text"], o["text"]) for d,o in zip(drafted(model, left), left)]
                    mine["keystrokes"][str(a.start + k)] = sum(better)/sum(keys("", o["text"]) for o in left)
            mine["curves"][order][str(k)] = report.wer
            print(f"seed {seed}, {k} clips, {order}: {report.wer:.1%}", flush=True)
            save()


def clips_to(curve, wer):
    "How many clips a curve (clips -> WER) needs to `wer`, between its points on a straight line; None: never."
    points = sorted((int(k), v) for k,v in curve.items())
    if points[0][1] <= wer: return points[0][0]
    for (a,x),(b,y) in zip(points, points[1:]):
        if y <= wer: return a + (b - a)*(x - wer)/(x - y)
    return None


def summary(result):
    "Mean curves, and the share of the clips with which an order reaches the random order's WER."
    seeds, mean = result["seeds"].values(), lambda xs: round(statistics.mean(xs), 4)
    orders = [o for o in ORDERS if all(o in s["curves"] for s in seeds)]
    curves = {o: {k: mean(s["curves"][o][k] for s in seeds) for k in next(iter(seeds))["curves"][o]} for o in orders}
    keystrokes = {k: mean(s["keystrokes"][k] for s in seeds) for k in next(iter(seeds))["keystrokes"]}
    goal = curves["random"][(most := max(curves["random"], key=int))]
    share = {o: None if (n := clips_to(curves[o], goal)) is None else round(n/int(most), 3) for o in orders
             if o != "random"}
    return dict(start_wer=mean(s["start_wer"] for s in seeds), curves=curves, random_wer=goal, at_clips=int(most),
                share_of_clips=share, keystrokes=keystrokes)


def show(result):
    s = result["summary"]
    pc = lambda v: "never" if v is None else f"{v:.1%}"
    wer = table(["clips corrected", *s["curves"]], [[k, *(pc(c[k]) for c in s["curves"].values())]
                                                   for k in s["curves"]["random"]])
    press = table(["clips trained on", "keystrokes of typing"], [[k, pc(v)] for k,v in s["keystrokes"].items()])
    shares = ", ".join(f"{k} {pc(v)}" for k,v in s["share_of_clips"].items())
    return (f"WER on the clips typed first: {pc(s['start_wer'])}\n\n{wer}\n\n"
            f"share of the {s['at_clips']} clips of the random order to its WER: {shares}\n\n{press}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--start", type=int, default=16, help="clips typed first")
    p.add_argument("--clips", nargs="+", type=int, default=[16, 32, 48, 64, 96])
    p.add_argument("--steps", type=int, default=80)
    p.add_argument("--pool", type=int, default=300)
    p.add_argument("--orders", nargs="+", default=[*ORDERS], choices=ORDERS)
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    a = p.parse_args()
    if a.smoke: a.seeds, a.start, a.clips, a.steps, a.pool = [0], 4, [4], 1, 12
    what = {k: v for k,v in vars(a).items() if k not in ("out", "seeds", "smoke")}
    name = "drafts.json"
    try: result = json.loads((a.out/name).read_text())
    except FileNotFoundError: result = {}
    if result.get("what") != what: result = dict(setting=setting(), what=what, seeds={})
    def save(): write(name, result, a.out)
    for seed in a.seeds: one_seed(result, seed, a, save)
    result["summary"] = summary(result)
    save()
    print(show(result))


if __name__ == "__main__": main()

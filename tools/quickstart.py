"""Fine-tune the tiny Voxtral on the accent that ships with it, through the LoRA run notebook; the last line is JSON."""
import argparse, json, time
from pathlib import Path


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--output-dir", default="runs/quickstart",
                   help="the run folder; if it is taken, its name gets a number")
    a = p.parse_args()
    from voxtral_nb import run_notebook
    from voxtral_nb.run.notebooks import free_folder
    out = free_folder(a.output_dir)
    print("Fine-tuning the tiny Voxtral (LoRA) on English digits spoken with a German accent, which it never heard. "
          f"Everything goes to {out}")
    start = time.perf_counter()
    r = run_notebook("train_lora", output_dir=str(out))
    before, after = (r[f"rates_{o}"]["wer"] for o in ("before", "after"))
    print(f"\nWord error rate on {r['eval_clips']} held-out clips: {before:.1%} before, {after:.1%} after, "
          f"in {time.perf_counter()-start:.0f} s")
    for what, path in dict(notebook=r["notebook"], model=r["final_model"], results=out/"eval_results.json",
                           plots=out/"wer.png").items():
        print(f"  {what:<9}{Path(path)}")
    print(json.dumps(dict(wer_before=before, wer_after=after, run_dir=r["run_dir"])))


if __name__ == "__main__": main()

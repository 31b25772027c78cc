"""How long does the Studio's page take to answer a click, idle and while training takes every core?

`voxtral-studio` in a real Chromium, on a project with 90 clips and a few runs. A person clicks through the steps, the
machines and the filters, at irregular times; each click is timed in the browser, from the event's own time stamp to the
first frame after the page has changed. Then a real run of the tiny model starts with one thread a core, and the same
clicks come again. Three minutes; writes studio_latency.json."""
import argparse, os, random, statistics, sys, tempfile, time
from pathlib import Path

from measure import HERE, RESULTS, setting, write

sys.path[:0] = [str(HERE.parent/"tests"), str(HERE.parent/"tools")]
from browser import browser, wait_for
from studio_page import Tab
from studio_pictures import make_project

SETTINGS = dict(model_id="tiny", tracking="none", device="cpu", language="en", batch_size=4, logging_steps=1,
                gradient_accumulation_steps=1, max_eval_clips=20, max_new_tokens=12, eval_every=100_000, cache="none")
TIMED = """() => {
    const root = document.querySelector(".vs"); window.took = [];
    let at = null;
    root.addEventListener("click", (e) => { at = e.timeStamp; }, true);
    new MutationObserver(() => {
        if (root.dataset.busy !== "false" || at === null) return;
        const began = at; at = null;
        requestAnimationFrame(() => setTimeout(() => window.took.push(performance.now() - began)));
    }).observe(root, { attributes: true, attributeFilter: ["data-busy"] });
}"""


def clicks(s, n, seed):
    "What a person does: names of steps, and buttons in some of them."
    draw, some = random.Random(seed), []
    places = [("Train", ".vs-choice"), ("Train", "button[data-do=show]"), ("Speech", None), ("Check", None),
              ("Results", None), ("Publish", ".vs-choice"), ("Demo", None), ("My runs", None)]
    while len(some) < n:
        step, inside = draw.choice(places)
        some.append(("step", s.tab(step)))
        if inside: some += [("action", s.root.locator(inside).nth(draw.randrange(2)))]*draw.randrange(1, 4)
    return some[:n], draw


def measure(s, n, seed=0):
    "ms of each click."
    some, draw = clicks(s, n, seed)
    s.page.evaluate("() => { window.took = []; }")
    for i, (kind, target) in enumerate(some):
        target.click()
        wait_for(lambda: s.page.evaluate("() => window.took.length") > i, 30, "an answer", every=.05)
        time.sleep(draw.uniform(.1, .9)) # so that clicks fall anywhere between two looks at the folders
    took = s.page.evaluate("() => window.took")
    return {k: [round(t, 1) for t, (o, _) in zip(took, some) if o == k] for k in ("step", "action")}


def figures(took):
    x = sorted(took["step"] + took["action"])
    q = statistics.quantiles(x, n=100, method="inclusive")
    return dict(clicks=len(x), median_ms=round(statistics.median(x)), p90_ms=round(q[89]), p99_ms=round(q[98]),
                max_ms=round(x[-1]), over_200_ms=sum(o > 200 for o in x), load=[round(o, 1) for o in os.getloadavg()])


def busy():
    "(all, used by normal processes, used by niced ones) in ticks, over all cores."
    user, nice, system, idle, *more = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return user + nice + system + idle + sum(more), user + system, nice


def cores(before, after):
    "How many cores were used between two looks."
    whole, n = after[0] - before[0], os.cpu_count()
    return dict(by_others_and_the_page=round(n*(after[1] - before[1])/whole, 2),
                by_niced_work=round(n*(after[2] - before[2])/whole, 2))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--clicks", type=int, default=100, help="in each of the two parts")
    p.add_argument("--out", default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="a check of the code, not a measurement")
    a = p.parse_args()
    n, threads = 6 if a.smoke else a.clicks, os.cpu_count()
    out = setting(threads_of_the_run=threads)
    with tempfile.TemporaryDirectory() as tmp:
        home = Path(tmp)
        project = make_project(home/"my_voice", clips=10 if a.smoke else 90)
        env = dict(os.environ, VOXTRAL_NB_HISTORY=str(home/"history.jsonl"), OMP_NUM_THREADS=str(threads),
                   HF_HUB_OFFLINE="1", HF_HOME=str(home/"hf"))
        env.pop("HF_TOKEN", None)
        os.environ |= {k: env[k] for k in ("OMP_NUM_THREADS", "VOXTRAL_NB_HISTORY")} # of the jobs started here
        for i in range(2 if a.smoke else 3):
            job = project.start("train", SETTINGS | dict(max_steps=3), name=f"run{i}")
            wait_for(lambda: project.job(job.id).state != "running", 300, "a short run to end", every=.5)
        project.set(settings=SETTINGS)
        with Tab(home, "my_voice", env=env) as tab, browser(width=1400) as context:
            s = tab.open(context)
            s.page.evaluate(TIMED)
            measure(s, 4) # what is loaded at the first click is loaded
            for part in ("idle", "training"):
                if part == "training":
                    run = project.start("train", SETTINGS | dict(max_steps=100_000), name="long")
                    wait_for(lambda: project.run("long").step > 3, 300, "the run to be under way", every=.5)
                    step, began = project.run("long").step, time.monotonic()
                before = busy()
                out[part] = figures(took := measure(s, n, seed=1)) | dict(cores=cores(before, busy()), ms=took)
            out["training"]["steps_a_second"] = round((project.run("long").step - step)/(time.monotonic() - began), 2)
            project.stop(run, kill=True)
            wait_for(lambda: project.job(run.id).state != "running", 60, "the run to end")
    keys = ("median_ms", "p90_ms", "p99_ms", "max_ms")
    out["training_to_idle"] = {k: round(out["training"][k]/out["idle"][k], 2) for k in keys[:3]}
    for part in ("idle", "training"):
        o = out[part]
        print(f"{part:9}", *(f"{k.removesuffix('_ms')} {o[k]} ms" for k in keys),
              f"over 200 ms: {o['over_200_ms']} of {o['clicks']}", f"load {o['load'][0]}", o["cores"], sep="  ")
    print("training/idle:", out["training_to_idle"])
    write("studio_latency.json", out, a.out)


if __name__ == "__main__": main()

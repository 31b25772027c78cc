"""Execute the run notebooks and the tutorials as they stand, and keep their outputs: what a reader of the site or of
the repository sees.  show_runs.py [NAME...]

They run in an empty folder and one after the other, so `evaluate` finds the model that `train_lora` made. What belongs
to this machine (paths, the kernel's complaints on standard error, widgets) is left out of the outputs."""
import sys, tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

root = Path(__file__).resolve().parent.parent


def without_machine(o):
    "An output with paths made relative to the repository, as text."
    if isinstance(o, str): return o.replace(f"{root}/", "")
    if isinstance(o, list): return [without_machine(x) for x in o]
    return {k: v if k == "image/png" else without_machine(v) for k, v in o.items()} if isinstance(o, dict) else o


def kept(o):
    "Is this an output for readers?"
    return o.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in o.get("data", {})


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        for name in names or ["train_lora", "train_full", "evaluate", "publish", "deploy_demo", "train_realtime",
                              "record_your_voice"]:
            path = next(p for d in ("runs", "tutorials") if (p := root/"nbs"/d/f"{name}.ipynb").exists())
            nb = nbformat.read(path, 4)
            NotebookClient(nb, kernel_name="python3", resources=dict(metadata=dict(path=folder)),
                           coalesce_streams=True).execute()
            for c in nb.cells:
                c.metadata.pop("execution", None)
                if c.cell_type != "code": continue
                c.execution_count = None
                c.outputs = [nbformat.from_dict(without_machine(o)) for o in c.outputs if kept(o)]
            for o in (o for c in nb.cells for o in c.get("outputs", []) if "execution_count" in o):
                o["execution_count"] = None
            nb.metadata.pop("language_info", None)
            nb.metadata.pop("widgets", None)
            nbformat.write(nb, path)
            print(f"{path.relative_to(root)}: {path.stat().st_size//1000} kB")


if __name__ == "__main__": main(sys.argv[1:])

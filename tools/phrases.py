"""Sentences to read: phrases.py add CODE DRAFT [--after N] | check [CODE ...] | coverage [CODE ...]

`add` takes a draft of sentences in groups (a line `[questions]`, then one sentence a line) and appends those that
the file of the language does not have, in an order that brings new sounds early. `add` and `coverage` need espeak-ng.
`--after N` orders all sentences behind the first N anew, the added ones among them."""
import argparse, re, statistics, sys
from pathlib import Path
from voxtral_nb.data.audio import SAMPLE_RATE
from voxtral_nb.record.languages import LANGUAGES, GROUPS, grouped_phrases, phrases_path
from voxtral_nb.testing.phrases import phoneme_coverage, phrase_problems, reading_order
from voxtral_nb.testing.speech import espeak


def draft(path): # yields (group, sentence)
    "The sentences of a draft."
    group = None
    for n, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = " ".join(line.split())
        if m := re.fullmatch(r"\[(\w+)\]", line):
            group = m[1]
            if group not in GROUPS: sys.exit(f"{path} line {n}: no group {group!r}; there are {', '.join(GROUPS)}")
        elif line:
            if group is None: sys.exit(f"{path} line {n}: put a group such as [everyday] above the first sentence")
            yield group, line


def add(code, path, after=None): # prints how many were added
    "Append the new sentences of a draft and store the order."
    there = grouped_phrases(code)
    have = {t for _, t in there}
    new = [o for o in dict.fromkeys(draft(path)) if o[1] not in have]
    kept = there[:after]
    rest = there[len(kept):] + new
    group = {t: g for g, t in rest}
    order = reading_order(list(group), code, [t for _, t in kept])
    file = phrases_path(code)
    head = [o for o in file.read_text(encoding="utf-8").splitlines() if o.startswith("#")]
    lines = [*head, *(f"{g}\t{t}" for g, t in [*kept, *((group[t], t) for t in order)])]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{code}: {len(new)} added, {len(kept)+len(rest)} in all")


def check(codes): # prints problems; exit status 1 if there are any
    "Say what is wrong."
    found = [f"{c}: {o}" for c in codes for o in phrase_problems(c)]
    print(*found, sep="\n")
    if found: sys.exit(f"{len(found)} problems")
    print(f"{len(codes)} languages: no problem")


def coverage(codes): # prints a table in Markdown
    "Count sentences, phonemes and pairs of phonemes; measure the seconds at 140 words a minute."
    print("| code | language | sentences | questions | phonemes | pairs | shortest | median | longest |")
    print("|---|---|---|---|---|---|---|---|---|")
    for c in codes:
        lines, n = grouped_phrases(c), phoneme_coverage(c)
        secs = sorted((len(espeak(t, c, rate=140))/SAMPLE_RATE, t) for _, t in lines)
        print(f"| {c} | {LANGUAGES[c].name} | {len(lines)} | {sum(g == 'questions' for g, _ in lines)} | "
              f"{n.phonemes} | {n.pairs} | {secs[0][0]:.1f} s | {statistics.median(s for s, _ in secs):.1f} s | "
              f"{secs[-1][0]:.1f} s |", flush=True)
        for s, t in secs:
            if not 1.2 <= s <= 14: print(f"    {s:.1f} s: {t}")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="do", required=True)
    p = sub.add_parser("add", help="append the sentences of a draft")
    p.add_argument("code", choices=sorted(LANGUAGES))
    p.add_argument("draft")
    p.add_argument("--after", type=int, help="how many sentences keep their place (default: all that are there)")
    for name in ("check", "coverage"):
        sub.add_parser(name).add_argument("codes", nargs="*", choices=[*sorted(LANGUAGES), []], metavar="CODE")
    a = ap.parse_args()
    if a.do == "add": add(a.code, a.draft, a.after)
    else: dict(check=check, coverage=coverage)[a.do](a.codes or sorted(LANGUAGES))

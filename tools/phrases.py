"""Sentences to read: phrases.py add CODE DRAFT [--after N] | check [CODE ...] | coverage WORDS [CODE ...]

`add` takes a draft of sentences in groups (a line `[questions]`, then one sentence a line) and appends those that
the file of the language does not have, in an order that puts new sounds early. `add` and `coverage` need espeak-ng.
`coverage` compares the sentences with the words in WORDS/CODE.txt, commonest first, and updates the table of the docs.
`--after N` orders all sentences after the first N again, including the added ones."""
import argparse, json, re, statistics, sys, unicodedata
from collections import Counter
from pathlib import Path
from voxtral_nb.data.audio import SAMPLE_RATE
from voxtral_nb.record.languages import LANGUAGES, GROUPS, grouped_phrases, phrases_path
from voxtral_nb.testing.phrases import clauses, phrase_problems, reading_order, sounds
from voxtral_nb.testing.speech import espeak

RESULT = Path(__file__).resolve().parent.parent/"benchmarks"/"results"/"phrases.json"


def draft(path): # yields (group, sentence)
    "The sentences of a draft."
    group = None
    for n, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = " ".join(line.split())
        if m := re.fullmatch(r"\[(\w+)\]", line):
            group = m[1]
            if group not in GROUPS: sys.exit(f"{path} line {n}: no group {group!r}; available: {', '.join(GROUPS)}")
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


def coverage(codes, words): # prints a table; updates benchmarks/results/phrases.json
    "Compare what is heard in the sentences with the words of a language; measure the seconds at 140 words a minute."
    table = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for c in codes:
        lines = grouped_phrases(c)
        heard = sounds("\n".join(t for _, t in lines), c)
        common = Counter()
        listed = [w for w in (Path(words)/f"{c}.txt").read_text(encoding="utf-8").split()
                  if unicodedata.name(w[0]).startswith(LANGUAGES[c].script.upper())]
        for seq in clauses(".\n\n".join(listed), c): common.update({*seq, *zip(seq, seq[1:])})
        single = [u for u, n in common.items() if isinstance(u, str) and n >= 10]
        pairs = {u: n for u, n in common.items() if not isinstance(u, str)}
        secs = sorted((round(len(espeak(t, c, rate=140))/SAMPLE_RATE, 1), t) for _, t in lines)
        table[c] = dict(sentences=len(lines), questions=sum(g == "questions" for g, _ in lines),
                        phonemes=sum(u in heard for u in single), of_phonemes=len(single),
                        missing=sorted(u for u in single if u not in heard),
                        pairs=round(sum(n for u, n in pairs.items() if u in heard)/sum(pairs.values()), 4),
                        seconds=[secs[0][0], statistics.median(s for s, _ in secs), secs[-1][0]])
        text = json.dumps(dict(sorted(table.items())), ensure_ascii=False, indent=1) + "\n"
        RESULT.write_text(text, encoding="utf-8")
        print(c, LANGUAGES[c].name, table[c], flush=True)
        for s, t in secs:
            if not 2 <= s <= 14: print(f"    {s} s: {t}")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="do", required=True)
    p = sub.add_parser("add", help="append the sentences of a draft")
    p.add_argument("code", choices=sorted(LANGUAGES))
    p.add_argument("draft")
    p.add_argument("--after", type=int, help="how many sentences keep their place (default: all that are there)")
    sub.add_parser("check").add_argument("codes", nargs="*", metavar="CODE")
    p = sub.add_parser("coverage")
    p.add_argument("words", help="folder with a list of words for each language")
    p.add_argument("codes", nargs="*", metavar="CODE")
    a = ap.parse_args()
    if a.do == "add": add(a.code, a.draft, a.after)
    elif a.do == "check": check(a.codes or sorted(LANGUAGES))
    else: coverage(a.codes or sorted(LANGUAGES), a.words)

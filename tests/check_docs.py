#!/usr/bin/env python3
"""Every file that the documentation names exists, and every link leads somewhere.

    check_docs.py

Looks at README.md, CHANGELOG.md (links only) and docs/**/*.md:
1. `path/file.ext`, `path/`, `file.ext` in backticks: a path from the root or from the page's own folder, or, without a folder, the
   name of some file of the repository. {a,b}, * and NAME stand for several names.
2. [text](target) and ![](target): a file or folder, seen from the page; #heading: a heading of the target.
Exit code 1 if something is missing, with a line for each.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXTENSIONS = "h|cpp|cu|cuh|md|sh|py|txt|cmake|csv|json|svg|html"
# What programs write, not what the repository holds.
WRITTEN = re.compile(r"^(build|data|runs|report|bench|/|~)|^(config|metrics|checkpoint|predictions|study|results?|bench|index)\.")


def expand(name):
    """The names that a pattern with {a,b} stands for."""
    found = re.search(r"\{([^{}]*)\}", name)
    if not found:
        return [name]
    return [whole for choice in found[1].split(",")
            for whole in expand(name[:found.start()] + choice + name[found.end():])]


def repository():
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    files = listed.stdout.split() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
    return [pathlib.PurePosixPath(f) for f in files if (ROOT / f).exists()]


def exists(name, page, files):
    pattern = name.replace("NAME", "*")
    if "/" not in pattern:
        return any(f.match(pattern) for f in files)
    return any(next(iter(folder.glob(pattern.rstrip("/"))), None) for folder in (ROOT, page.parent))


def anchors(page):
    lines = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M).splitlines()
    titles = [re.sub(r"[`*]|\[|\]\([^)]*\)", "", line.lstrip("# ")) for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def missing(page, files):
    text = page.read_text()
    if page.name != "CHANGELOG.md":
        for name in re.findall(rf"`([\w./{{}},*-]+(?:\.(?:{EXTENSIONS})|/))`", text):
            if not WRITTEN.search(name):
                yield from (f"no file `{one}`" for one in expand(name) if not exists(one, page, files))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (page.parent / path) if path else page
        if not linked.exists():
            yield f"no file for the link ({target})"
        elif heading and heading not in anchors(linked):
            yield f"no heading for the link ({target})"


def main():
    files = repository()
    pages = [ROOT / f for f in files if f.suffix == ".md"]
    errors = [f"{page.relative_to(ROOT)}: {error}" for page in pages for error in missing(page, files)]
    print("\n".join(errors) or f"{len(pages)} pages: every file and link is there")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

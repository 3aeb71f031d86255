"""index.html against the figures, and by itself. Each check returns what it did and the differences."""
import re
import xml.etree.ElementTree

from checking import Differences
from figures import all_figures, compare_pairs, may_be_absent, verdict
from page import is_rounding
from study import number

PAIRS = {"comparisons": "main", "batch-comparisons": "batch"}  # start of the keys: part of the study


def check_figures(study, page):
    """Every figure of the page: a known key, the right value, the right text; and none is missing."""
    bad, wanted = Differences(), all_figures(study)
    for attributes, text in page.figures:
        key = attributes["data-key"]
        if key not in wanted:
            bad.append(f"index.html: unknown figure {key}")
            continue
        value = number(attributes.get("data-value", "no data-value"))
        bad.compare("index.html", key, value, wanted[key])
        bad.expect(is_rounding(text.strip(), value), f"index.html: {key} is {value!r} but shown as {text!r}")
        bad.expect(("data-timing" in attributes) == ("seconds" in key), f"index.html: data-timing of {key}")
    missing = wanted.keys() - {a["data-key"] for a, _ in page.figures}
    bad.extend(f"index.html: lacks {key}" for key in sorted(missing) if not may_be_absent(key))
    return f"{len(page.figures)} numbers of index.html recomputed, {len(wanted)} keys", bad


def check_cells(page):
    """No cell of a table has digits outside of figures, unless it says that it is text."""
    bad = Differences(f"index.html: a cell says {text!r}" for text in page.cells)
    return "every table cell with digits is a figure", bad


def pairs_of(keys):
    """The pairs (prefix, a, b) that keys prefix/a/b/column are of."""
    parts = [key.split("/") for key in keys]
    return sorted({tuple(p[:3]) for p in parts if p[0] in PAIRS})


def check_verdicts(study, page):
    """The verdicts of the rows that compare a pair, and the order of these rows: that of comparisons.csv."""
    bad = Differences(f"index.html: the verdict {v} is in no row of a table" for v in page.rows[0][1])
    wanted = {(prefix, a, b): verdict(columns) for prefix, part in PAIRS.items()
              for (a, b), columns in compare_pairs(study, part).items()}
    found = []
    for keys, verdicts in page.rows[1:]:
        pairs = pairs_of(keys)
        if not pairs and not verdicts:
            continue
        where = "index.html, row of " + (" and ".join("/".join(pair) for pair in pairs) or "no pair")
        bad.expect(len(pairs) == 1, f"{where}: of {len(pairs)} pairs, with verdicts {verdicts}")
        for pair in pairs:
            right = wanted.get(pair)
            bad.expect(verdicts == [right], f"{where}: verdicts {verdicts}, not {right}")
        found += pairs
    bad.compare_rows("index.html, pairs", found, list(wanted))
    bad.expect(found == list(wanted), "index.html: the pairs are not in the order of comparisons.csv")
    return f"{len(found)} verdicts of index.html recomputed", bad


def check_self_contained(study, page):
    """index.html loads nothing; its links lead somewhere."""
    bad = Differences()
    loads = list(page.loads)
    for style in page.styles:
        loads += re.findall(r"url\(\s*['\"]?([^)'\"]*)", style)
        bad.expect("@import" not in style, "index.html: a style imports another")
    bad.extend(f"index.html: loads {load[:60]}" for load in loads if not re.match("data:|#|$", load))
    bad.expect(len(page.ids) == len(set(page.ids)), "index.html: an id twice")
    bad.extend(f"index.html: {tag} does not nest" for tag in page.unclosed)
    for link in page.links:
        if link.startswith("#"):
            bad.expect(link[1:] in page.ids, f"index.html: no {link}")
        elif not re.match(r"https?:|mailto:", link):
            bad.expect((study.report / link.split("#")[0]).is_file(), f"index.html: no file {link}")
    return f"index.html needs no other file; {len(page.links)} links", bad


def check_charts(study, page):
    """Charts have names for who cannot see them; report/charts has each as SVG and PNG."""
    bad = Differences()
    for svg in page.svgs:
        named = svg["title"].strip() or svg["attributes"].get("aria-label", "").strip()
        bad.expect(svg["attributes"].get("role") == "img" and named,
                   f"index.html: the chart {svg['attributes']} has no role=\"img\" or no name")
    bad.expect(page.svgs, "index.html: no charts")
    files = sorted((study.report / "charts").iterdir())
    stems = {ending: {f.stem for f in files if f.suffix == ending} for ending in (".svg", ".png")}
    bad.expect(stems[".svg"] and stems[".svg"] == stems[".png"], f"charts: not each as SVG and PNG: {stems}")
    for path in files:
        if path.suffix == ".svg":
            root = xml.etree.ElementTree.parse(path).getroot()
            bad.expect(root.tag.endswith("}svg") and len(root) > 0, f"{path.name}: not an SVG picture")
        elif path.suffix == ".png":
            bad.expect(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), f"{path.name}: not a PNG picture")
    return f"{len(page.svgs)} charts in index.html, {len(stems['.svg'])} in charts/", bad

"""index.html, taken apart."""
import decimal
import html.parser
import json
import math
import re

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADING = {"src", "srcset", "poster", "data", "background"}  # attributes that fetch what they name


class Page(html.parser.HTMLParser):
    """index.html: its figures (attributes, text), cells with digits that are none, the keys and verdicts of
    the rows of its tables (the first entry is of what is outside of rows), charts, what it loads."""

    def __init__(self, path):
        super().__init__()
        self.figures, self.cells, self.svgs, self.ids = [], [], [], []
        self.loads, self.links, self.styles, self.scripts, self.unclosed = [], [], [], [], []
        self.banner, self.text = "", ""  # of id="limits", and of the body
        self.rows = [([], [])]
        self.row = self.rows[0]
        self.open = []  # [tag, attributes, text, text outside of figures]
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.unclosed += [tag for tag, *_ in self.open]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.note(tag, attributes)
        if tag not in VOID:
            self.open.append([tag, attributes, "", ""])

    def handle_startendtag(self, tag, attributes):
        self.note(tag, dict(attributes))

    def note(self, tag, attributes):
        if tag == "tr":
            self.row = ([], [])
            self.rows.append(self.row)
        keys, verdicts = self.row
        if "data-key" in attributes:
            keys.append(attributes["data-key"])
        if "data-verdict" in attributes:
            verdicts.append(attributes["data-verdict"])
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        self.loads += [v for name, v in attributes.items() if name in LOADING]
        if tag != "a" and "href" in attributes or "xlink:href" in attributes:
            self.loads.append(attributes.get("href", attributes.get("xlink:href")))
        if tag == "svg":
            self.svgs.append({"attributes": attributes, "title": "", "texts": []})
        self.styles.append(attributes.get("style", ""))

    def handle_data(self, data):
        inside_figure = any("data-key" in attributes for _, attributes, *_ in self.open)
        in_script = any(tag in ("script", "style") for tag, *_ in self.open)
        for element in self.open:
            element[2] += "" if in_script and element[0] == "body" else data
            element[3] += "" if inside_figure else data

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.unclosed.append(f"</{tag}>")
            return
        _, attributes, text, outside = self.open.pop()
        if "data-key" in attributes:
            self.figures.append((attributes, text))
        if attributes.get("id") == "limits":
            self.banner = " ".join(text.split())
        if tag == "body":
            self.text = text
        if tag == "text" and self.svgs:
            self.svgs[-1]["texts"].append((attributes.get("class", ""), text))
        if tag == "td" and "data-text" not in attributes and re.search(r"\d", outside):
            self.cells.append(text)
        if tag == "tr":
            self.row = self.rows[0]
        if tag == "title" and any(element[0] == "svg" for element in self.open):
            self.svgs[-1]["title"] += text
        if tag == "style":
            self.styles.append(text)
        if tag == "script":
            self.scripts.append((attributes, text))

    def island(self):
        """The data of the grid of misclassified images."""
        return json.loads(next(text for a, text in self.scripts if a.get("id") == "misclassified-data"))


def is_rounding(text, value):
    """Whether `text` shows `value`: rounded at its last digit, perhaps with separators of thousands; as
    "<0.0001"; as a dash if undefined. What is not 0 must not be shown as 0."""
    if math.isnan(value):
        return text == "–"
    if text.startswith("<"):
        return 0 <= value < float(text[1:])
    plain = text.replace("−", "-")
    if re.fullmatch(r"-?\d{1,3}([,\u2009\u202f\u00a0]\d{3})+(\.\d+)?", plain):
        plain = re.sub(r"[,\u2009\u202f\u00a0]", "", plain)
    if not re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", plain):
        return False
    shown = decimal.Decimal(plain)
    last_digit = decimal.Decimal(1).scaleb(shown.as_tuple().exponent)
    if shown == 0 and (plain.startswith("-") or abs(value) > 1e-10):
        return False
    return abs(decimal.Decimal(value) - shown) <= last_digit / 2

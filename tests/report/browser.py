"""A report in headless Chromium."""
import base64
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

WIDTHS = {"desktop": 1280, "phone": 390}
HEIGHTS = {"desktop": 900, "phone": 844}
MAX_SCREENSHOT_HEIGHT = 16000  # pixels that Chromium can still draw


SHOWN = """
return [...document.querySelectorAll("#misclassified-grid > figure.digit")].map(figure => {
  const {index, label, prediction} = figure.dataset;
  const names = [...figure.querySelectorAll("*")].map(e => e.getAttribute("aria-label") || e.alt || "");
  return {index, label, prediction, name: names.filter(name => name).join("; "), text: figure.textContent};
});
"""

# The 28 x 28 grey values that the background of each of the first figures shows.
PIXELS = """
const done = arguments[arguments.length - 1];
const figures = [...document.querySelectorAll("figure.digit")].slice(0, 100);
const style = figure => getComputedStyle(figure.querySelector(".pixels"));
const sheet = new Image();
sheet.onerror = () => done(null);
sheet.onload = () => done(figures.map(figure => {
  const {backgroundPositionX, backgroundPositionY, backgroundSize} = style(figure);
  const scale = sheet.naturalWidth / parseFloat(backgroundSize);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(sheet, -parseFloat(backgroundPositionX) * scale, -parseFloat(backgroundPositionY) * scale,
                    28, 28, 0, 0, 28, 28);
  const rgba = context.getImageData(0, 0, 28, 28).data;
  return {index: Number(figure.dataset.index), pixels: [...rgba.filter((_, i) => i % 4 === 0)]};
}));
sheet.src = style(figures[0]).backgroundImage.slice(5, -2);
"""

# The elements that stick out to the right without a container that scrolls or hides them.
TOO_WIDE = """
const contained = e => e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e !== document.body
                             && e !== document.documentElement || contained(e.parentElement));
return [...document.body.querySelectorAll("*")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !contained(e) && !e.closest("svg"))
  .slice(0, 5).map(e => e.outerHTML.slice(0, 80));
"""

# The texts of charts that reach beyond their chart, and those that lie on each other.
CHART_TEXTS = """
const bad = [], name = e => JSON.stringify(e.textContent);
for (const svg of document.querySelectorAll("svg.chart")) {
  const whole = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map(e => [e, e.getBoundingClientRect()]);
  texts.forEach(([e, r], i) => {
    if (r.left < whole.left - 1 || r.right > whole.right + 1 || r.top < whole.top - 1 || r.bottom > whole.bottom + 1)
      bad.push(`${name(e)} reaches beyond its chart`);
    for (const [other, o] of texts.slice(i + 1)) {
      const across = Math.min(r.right, o.right) - Math.max(r.left, o.left);
      const down = Math.min(r.bottom, o.bottom) - Math.max(r.top, o.top);
      if (across > 1 && down > 0.25 * Math.min(r.height, o.height)) bad.push(`${name(e)} lies on ${name(other)}`);
    }
  });
}
return bad.slice(0, 5);
"""

# The tables that are wider than their boxes.
SCROLLING = """
return [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.getAttribute("aria-label"));
"""

# [contrast, text] of every element that has text of its own. For large text 3 instead of 4.5 suffices: its
# contrast counts one and a half times.
CONTRASTS = """
const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
  .getContext("2d", {willReadFrequently: true});
const known = new Map();
const rgba = color => {
  if (!known.has(color)) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    known.set(color, [...context.getImageData(0, 0, 1, 1).data]);
  }
  return known.get(color);
};
const over = (top, below) => [0, 1, 2].map(i => (top[i] * top[3] + below[i] * (255 - top[3])) / 255);
const light = color => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
  const c = color[i] / 255;
  return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
}, 0);
const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
const backdrop = e => e ? over(rgba(getComputedStyle(e).backgroundColor), backdrop(e.parentElement)) : canvas;
const contrast = e => {
  const style = getComputedStyle(e), below = backdrop(e);
  const text = over(rgba(e.closest("svg") ? style.fill : style.color), below);
  const [high, low] = [light(text), light(below)].sort((a, b) => b - a);
  const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  return (high + 0.05) / (low + 0.05) * (large ? 1.5 : 1);
};
const hasText = e => e.checkVisibility() && !e.matches("style, script, title, desc, option")
  && [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
return [document.body, ...document.body.querySelectorAll("*")].filter(e => e === document.body || hasText(e))
  .map(e => [contrast(e), e === document.body ? "body" : e.textContent.trim().slice(0, 40)]);
"""


class Browser:
    """index.html in headless Chromium."""

    def __init__(self, page):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                         "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url = page.resolve().as_uri()
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_script_timeout(60)

    def __enter__(self):
        self.look_as("desktop", "light")
        self.driver.get(self.url)
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def look_as(self, device, scheme):
        """Takes the size of a desktop or a phone, and prefers light or dark."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=WIDTHS[device], height=HEIGHTS[device],
                 deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def cdp(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def element(self, name):
        return self.driver.find_element(By.ID, name)

    def select(self, **filters):
        """select(network="gn", label="4", missed_by="any"), each by its element's value."""
        for name, value in filters.items():
            Select(self.element("filter-" + name.replace("_", "-"))).select_by_value(value)

    def values(self, name):
        return [o.get_attribute("value") for o in Select(self.element("filter-" + name)).options]

    def shown(self):
        """The figures on the page."""
        return self.script(SHOWN)

    def counted(self):
        count = self.element("misclassified-count")
        return int(count.get_attribute("data-shown")), int(count.get_attribute("data-total"))

    def screenshot(self, path):
        """The whole page, or as much of it as can be drawn."""
        content = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self.script("return innerWidth"),
                "height": min(content["height"], MAX_SCREENSHOT_HEIGHT), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

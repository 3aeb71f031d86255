// Draws the misclassified images that the three selections leave.
//
// The data: networks[i].wrong lists [index, label, prediction, p(label), p(prediction)] for the network's first
// seed; missed[index][i] counts the seeds with which network i gets the image wrong; sprite.slot[index] is the
// image's place in the one picture that holds them all.
"use strict";
const data = JSON.parse(document.getElementById("misclassified-data").textContent);
const grid = document.getElementById("misclassified-grid");
const count = document.getElementById("misclassified-count");
const more = document.getElementById("misclassified-more");
const select = (name) => document.getElementById("filter-" + name);
const percent = (p) => (100 * p).toFixed(1) + " %";
const PAGE = 200;
let shown = PAGE;

const wrongSets = data.networks.map((n) => new Set(n.wrong.map((w) => w[0])));
const learned = data.networks.map((n, i) => i).filter((i) => data.networks[i].learned);

function isWanted(image, network) {
  const by = select("missed-by").value;
  if (by === "any") return true;
  if (by === "every") return learned.every((i) => wrongSets[i].has(image));
  if (by === "only") return learned.every((i) => i === network || !wrongSets[i].has(image));
  return wrongSets[data.networks.findIndex((n) => n.name === by)].has(image);
}

function figure([index, label, prediction, pLabel, pPrediction]) {
  const {columns, size, slot} = data.sprite;
  const place = slot[index];
  const says = `true ${data.classes[label]}, predicted ${data.classes[prediction]}`;
  const element = document.createElement("figure");
  element.className = "digit";
  Object.assign(element.dataset, {index, label, prediction});
  const picture = document.createElement("div");
  picture.className = "pixels";
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Test image ${index}: ${says}`);
  picture.style.backgroundPosition = `${-2 * size * (place % columns)}px ${-2 * size * Math.floor(place / columns)}px`;
  const caption = document.createElement("figcaption");
  const line = (className, text) => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    caption.append(span);
  };
  line("truth", `true ${data.classes[label]} (${percent(pLabel)})`);
  line("guess", `predicted ${data.classes[prediction]} (${percent(pPrediction)})`);
  const by = learned.map((i) => [data.networks[i], data.missed[index][i]]).filter(([, k]) => k > 0);
  const missers = by.map(([{name, seeds}, k]) => (seeds === 1 ? name : `${name} ${k}/${seeds}`)).join(", ");
  if (missers) line("by", `missed by ${missers}`);
  line("number", `image ${index}`);
  element.append(picture, caption);
  return element;
}

function draw() {
  const network = data.networks.findIndex((n) => n.name === select("network").value);
  const label = select("label").value;
  const wanted = data.networks[network].wrong.filter(
    (w) => (label === "all" || w[1] === Number(label)) && isWanted(w[0], network));
  grid.replaceChildren(...wanted.slice(0, shown).map(figure));
  const drawn = Math.min(shown, wanted.length);
  Object.assign(count.dataset, {shown: drawn, total: wanted.length});
  count.textContent = wanted.length === 0 ? "No image is left by these selections."
                                          : `${drawn} of ${wanted.length} images`;
  more.hidden = drawn === wanted.length;
}

for (const name of ["network", "label", "missed-by"]) {
  select(name).addEventListener("change", () => { shown = PAGE; draw(); });
}
more.addEventListener("click", () => { shown += PAGE; draw(); });
draw();

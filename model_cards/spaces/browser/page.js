// The page: a form, and the answers of engine.js, which computes in a worker so that the page never stands still.

const find = (id) => document.getElementById(id);
const MAX_MATCHES = 6;
const NAMES = { history: "your history and taste", graph: "what others took next" };
let titles = [];
let history = [];
let newest = 0; // number of the last request of the form; answers to earlier ones are not shown
let numbered = 0;
const waiting = new Map(); // number of a request -> what to do with its answer

// a blob's worker obeys the policy of this page, a worker of a plain address would not
const address = new URL("engine.js", import.meta.url).href;
const source = new Blob([`import ${JSON.stringify(address)};`], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(source), { type: "module" });
worker.addEventListener("error", (event) => fail(event.message || "this browser cannot run the model."));
worker.addEventListener("message", ({ data }) => {
  if (data.progress) showProgress(data.progress);
  else if (data.failed) fail(data.failed);
  else if (data.ready) begin(data.ready);
  else {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    data.error ? reject(new Error(data.error)) : resolve(data.answer);
  }
});

/** Calls a method of the engine. */
function call(method, request, options) {
  return new Promise((resolve, reject) => {
    waiting.set((numbered += 1), { resolve, reject });
    worker.postMessage({ id: numbered, method, request, options });
  });
}

// Also for the console: await mender.recommend({ preference: "a walnut lamp" }, { k: 5 })
window.mender = {
  recommend: (request, options = {}) => call("recommend", request, options),
  generate: (request, options = {}) => call("generate", request, options),
};

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function showProgress({ loaded, total }) {
  find("progress").value = loaded / total;
  find("loading_text").textContent = `Loading the model: ${megabytes(loaded)} of ${megabytes(total)} MB`;
}

function begin(ready) {
  titles = ready.titles;
  find("loading").hidden = true;
  find("go").disabled = false;
  const seconds = (ready.timings.all / 1000).toFixed(1);
  find("loaded").textContent = `${titles.length.toLocaleString("en")} items, loaded in ${seconds} s.`;
  mender.timings = ready.timings; // milliseconds
  document.body.dataset.ready = "true";
  if (find("search").value) showMatches();
  ask();
}

function fail(reason) {
  find("loading").hidden = true;
  showError(`The model could not be loaded: ${reason}`);
}

function showError(text) {
  find("status").textContent = "";
  find("error").hidden = false;
  find("error").textContent = text;
  find("results").replaceChildren();
  find("reading").replaceChildren();
}

/** Sends the request of the form, and shows its answer. */
async function ask() {
  if (!document.body.dataset.ready) return;
  const request = { history, preference: find("preference").value, avoid: find("avoid").value };
  request.strength = Number(find("strength").value);
  const number = (newest += 1);
  const asked = performance.now();
  try {
    const answer = await mender.recommend(request);
    if (number === newest) show(answer, performance.now() - asked);
  } catch (error) {
    if (number === newest) showError(error.message);
  }
}

/** An element with a class and a text, which is never read as markup. */
function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show({ items, texts, milliseconds }, all) {
  find("error").hidden = true;
  const steps = ["reading", "encoding", "scoring"].map((step) => `${step} ${milliseconds[step].toFixed(1)}`);
  find("status").textContent = `Answered in ${all.toFixed(0)} ms on this device (${steps.join(", ")}).`;
  find("reading").replaceChildren(...texts.flatMap(readingOf));
  const names = namesOfTerms(texts);
  const widest = Math.max(1e-6, ...items.flatMap((item) => item.lifts.map(Math.abs)));
  find("results").replaceChildren(...items.map((item, place) => resultOf(item, place + 1, names, widest)));
}

/** How a text was read: wanted or avoided, with corrected words. */
function readingOf({ text, strength, corrections }) {
  const [word, kind] = strength > 0 ? ["wants", "wanted"] : ["avoids", "avoided"];
  const tag = element("span", `tag ${kind}`, `${word} `);
  tag.append(element("bdi", "", text));
  const spelled = Object.entries(corrections).map(([written, better]) => {
    const note = element("span", "tag", "spelled ");
    note.append(element("bdi", "", `${written} → ${better}`));
    return note;
  });
  return [tag, ...spelled];
}

function namesOfTerms(texts) {
  const words = texts.map((text) => `${text.strength < 0 ? "avoids" : "wants"} “${text.text}”`);
  return [NAMES.history, NAMES.graph, ...words];
}

/** A result, which opens to the parts of its score. */
function resultOf(item, rank, names, widest) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const title = element("span", "title");
  title.append(element("bdi", "", item.title));
  const score = element("span", "score", signed(item.score, 1));
  score.title = "logarithm of the item's probability";
  summary.append(element("span", "rank", rank), title, score);
  const terms = element("div", "terms");
  item.lifts.forEach((lift, number) => {
    const name = element("span", "name");
    name.append(element("bdi", "", names[number]));
    terms.append(name, barOf(lift / widest), element("span", "value", (lift < 0 ? "" : "+") + signed(lift, 1)));
  });
  details.append(summary, terms, pathOf(item));
  details.open = rank === 1;
  const line = document.createElement("li");
  line.append(details);
  return line;
}

/** How the item is reached code by code: its semantic ID, and the share of each code among those that may follow. */
function pathOf({ codes, shares }) {
  const path = element("p", "path", "semantic ID ");
  codes.forEach((code, level) => {
    path.append(level ? " → " : "", element("b", "", code), ` (${(100 * shares[level]).toFixed(0)} %)`);
  });
  return path;
}

/** A number with a minus sign of the width of a plus sign, and none before 0. */
function signed(number, digits) {
  const text = number.toFixed(digits);
  return Number(text) < 0 ? text.replace("-", "−") : text.replace("-", "");
}

/** A bar from the middle, to the right for a number above 0; as SVG, for the page's policy allows no inline styles. */
function barOf(share) {
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const bar = make("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  const width = Math.min(50, 50 * Math.abs(share));
  bar.append(make("rect", { x: share < 0 ? 50 - width : 50, y: 1, width, height: 8, class: share < 0 ? "down" : "up" }));
  bar.append(make("line", { x1: 50, x2: 50, y1: 0, y2: 10, class: "axis" }));
  return bar;
}

function showMatches() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (let place = 0; words.length && place < titles.length && found.length < MAX_MATCHES; place += 1) {
    const title = titles[place].toLowerCase();
    if (words.every((word) => title.includes(word))) found.push(place + 1);
  }
  const lines = found.map((item) => {
    const button = element("button", "");
    button.type = "button";
    button.append(element("bdi", "", titles[item - 1]));
    button.addEventListener("click", () => {
      history = [...history, item];
      find("search").value = "";
      find("search").focus();
      showMatches();
      showHistory();
      ask();
    });
    const line = document.createElement("li");
    line.append(button);
    return line;
  });
  if (words.length && !found.length) lines.push(element("li", "muted", "no title has these words"));
  find("matches").replaceChildren(...lines);
}

function showHistory() {
  const lines = history.map((item, place) => {
    const line = document.createElement("li");
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${titles[item - 1]}`);
    remove.addEventListener("click", () => {
      history = history.filter((_, other) => other !== place);
      showHistory();
      find("search").focus();
      ask();
    });
    line.append(element("bdi", "", titles[item - 1]), remove);
    return line;
  });
  find("history").replaceChildren(...lines);
}

function showStrength() {
  find("strength_shown").textContent = Number(find("strength").value).toFixed(1);
}

find("request").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("search").addEventListener("input", showMatches);
find("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // the first match, not the request
  find("matches").querySelector("button")?.click();
});
find("strength").addEventListener("input", showStrength);
find("strength").addEventListener("change", ask);
find("start_over").addEventListener("click", () => {
  find("request").reset();
  history = [];
  showStrength();
  showMatches();
  showHistory();
  find("preference").focus();
  ask();
});
showStrength(); // a browser may restore the form of an earlier visit

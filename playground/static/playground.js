// The page of the playground: asks, draws the tree of frames as it grows, replays it, and draws the charts of a model
// and of a run. No framework, and nothing from elsewhere.
"use strict";

const byId = (id) => document.getElementById(id);
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------------------- tree

// What is drawn of a question: its paths, each with a tree of frames. `apply` draws one message.
class Trees {
  constructor(place) {
    this.place = place;
    this.clear();
  }

  clear() {
    this.place.replaceChildren();
    this.paths = new Map();
    this.frames = new Map();
    this.last = null; // the frame of the last message
  }

  path(number) {
    if (this.paths.has(number)) return this.paths.get(number);
    const title = element("h2", {}, `Path ${number + 1}`);
    const said = element("span", { class: "said" });
    const checks = element("span", { class: "checks" });
    const thought = element("button", { type: "button", class: "thought", "aria-expanded": "true" }, "Thinking …");
    const tree = element("ul", { class: "tree", role: "tree", "aria-label": `Frames of path ${number + 1}`, id: `tree-${number}` });
    thought.setAttribute("aria-controls", tree.id);
    thought.addEventListener("click", () => {
      tree.hidden = !tree.hidden;
      thought.setAttribute("aria-expanded", String(!tree.hidden));
    });
    const box = element("section", { class: "path", "aria-label": `Path ${number + 1}` }, element("header", {}, title, said, checks, thought), tree);
    this.place.append(box);
    const path = { number, box, tree, said, checks, thought, answer: null, tokens: 0, subtasks: 0 };
    this.paths.set(number, path);
    return path;
  }

  apply(message, isMoving) {
    const draw = { frame: this.open, token: this.token, return: this.return, end: this.end, checked: this.checked, answer: this.answer }[message.kind];
    if (draw) draw.call(this, message, isMoving);
  }

  open(message) {
    const path = this.path(message.path);
    const caller = message.parent === null ? null : this.frames.get(message.parent);
    const children = element("ul", { class: "children", role: "group" });
    const line = element("div", { class: "line" });
    const level = caller ? caller.level + 1 : 1;
    const item = element("li", { class: "frame open", role: "treeitem", tabindex: "-1", "aria-level": level, "aria-expanded": "true" }, line, children);
    const frame = { item, line, children, level, path, prompt: message.prompt.join(" "), tokens: [], returned: [], stepAt: 0 };
    for (const text of message.prompt) line.append(chip(text, "prompt"), " ");
    item.setAttribute("aria-label", `${level === 1 ? "problem" : "subtask"} ${frame.prompt}`);
    item.frame = frame;

    // A tail call takes the place of its frame: it stands after that one, at the same depth.
    if (message.replaces !== null) this.leave(this.frames.get(message.replaces));
    (caller ? caller.children : path.tree).append(item);
    if (caller) caller.item.classList.remove("open");
    if (caller) path.subtasks += 1;
    if (!path.tree.querySelector('[tabindex="0"]')) item.tabIndex = 0;
    this.frames.set(message.frame, frame);
    this.last = frame;
  }

  token(message) {
    const frame = this.frames.get(message.frame);
    const made = chip(message.text, message.role);
    made.likely = message.likely;
    const own = message.likely.find(([text]) => text === message.text);
    if (own && own[1] < 0.9) made.classList.add("unsure");
    frame.line.append(made, " ");
    frame.tokens.push(made);

    // A step begins after these tokens; <wrong> <revise> rejects what was written since.
    const before = frame.tokens.length > 1 ? frame.tokens[frame.tokens.length - 2].textContent : "";
    if (message.text === "<revise>" && before === "<wrong>") {
      for (const rejected of frame.tokens.slice(frame.stepAt, -1)) rejected.classList.add("struck");
    }
    if (["<think>", ";", "<ok>", "<revise>"].includes(message.text)) frame.stepAt = frame.tokens.length;
    if (message.role !== "completion") frame.path.tokens += 1;
    this.showThought(frame.path, false);
    this.last = frame;
  }

  return(message, isMoving) {
    const caller = this.frames.get(message.frame);
    const child = this.frames.get(message.child);
    const from = child.line.querySelectorAll(".tok");
    // The answer stands before <eos> at the end of the child.
    const starts = [...from].slice(-1 - message.answer.length, -1);
    message.answer.forEach((text, index) => {
      const made = chip(text, "returned");
      caller.line.append(made, " ");
      caller.tokens.push(made);
      if (isMoving && starts[index]) fly(starts[index], made);
    });
    this.leave(child);
    caller.item.classList.add("open");
    this.last = caller;
  }

  leave(frame) {
    frame.item.classList.remove("open");
    frame.item.classList.add("done");
    const written = frame.tokens.map((token) => token.textContent).join(" ");
    frame.item.setAttribute("aria-label", `${frame.level === 1 ? "problem" : "subtask"} ${frame.prompt} ${written}`);
  }

  showThought(path, isOver) {
    const said = isOver ? "Thought" : "Thinking";
    path.thought.textContent = `${said} for ${plural(path.tokens, "token")}, ${plural(path.subtasks, "subtask")}`;
  }

  end(message) {
    const path = this.path(message.path);
    for (const frame of this.frames.values()) if (frame.path === path && frame.item.classList.contains("open")) this.leave(frame);
    path.answer = message.outcome === "answered" ? message.answer : null;
    path.said.textContent = path.answer ?? `no answer: ${message.outcome.replaceAll("_", " ")}`;
    path.tokens = message.hidden_tokens;
    path.subtasks = message.subtasks;
    this.showThought(path, true);
    path.thought.title = `log-probability ${message.log_prob}`;
  }

  checked(message) {
    for (const path of this.paths.values()) {
      const passed = message.passed[path.answer];
      if (passed === undefined) continue;
      path.checks.textContent = `${passed} of ${message.of} checks passed`;
      path.checks.classList.toggle("right", passed === message.of);
      path.checks.classList.toggle("wrong", passed < message.of);
    }
  }

  answer(message) {
    for (const path of this.paths.values()) path.box.classList.toggle("chosen", this.paths.size > 1 && path.number === message.path);
  }

  // Scrolls inside of a tree, not the page, so that the frame that grows is seen.
  follow() {
    if (!this.last) return;
    const tree = this.last.path.tree;
    const box = tree.getBoundingClientRect();
    const line = this.last.line.getBoundingClientRect();
    if (line.bottom > box.bottom) tree.scrollTop += line.bottom - box.bottom + 12;
    if (line.top < box.top) tree.scrollTop -= box.top - line.top + 12;
    if (line.right > box.right) tree.scrollLeft += line.right - box.right + 12;
    if (line.left < box.left) tree.scrollLeft -= box.left - line.left + 12;
  }
}

function chip(text, role) {
  return element("span", { class: `tok ${role}${text.length > 2 ? " tag" : ""}`, tabindex: "-1" }, text);
}

function fly(from, to) {
  if (isCalm()) return;
  const start = from.getBoundingClientRect();
  const end = to.getBoundingClientRect();
  const shift = `translate(${start.left - end.left}px, ${start.top - end.top}px)`;
  to.animate([{ transform: shift, offset: 0 }, { transform: "none", offset: 1 }], { duration: 450, easing: "ease-in-out" });
}

// -------------------------------------------------------------------------------------------------------------- player

// Draws messages one after the other, at a speed that can be watched; goes back and forth in those that have come.
class Player {
  constructor(trees) {
    this.trees = trees;
    this.clear();
  }

  clear() {
    this.trees.clear();
    this.messages = [];
    this.at = 0;
    this.isPlaying = false;
    this.isLive = false;
    this.owed = 0;
    this.before = 0;
    this.show();
  }

  begin() {
    this.isLive = true;
    this.play();
  }

  add(message) {
    this.messages.push(message);
  }

  play() {
    if (this.at >= this.messages.length && !this.isLive) this.seek(0);
    this.isPlaying = true;
    this.before = performance.now();
    this.owed = 1; // the first token is drawn at once
    requestAnimationFrame((now) => this.frame(now));
    this.show();
  }

  pause() {
    this.isPlaying = false;
    this.show();
  }

  frame(now) {
    if (!this.isPlaying) return;
    const waiting = this.messages.length - this.at;
    let rate = Number(byId("speed").value) * Math.max(1, this.trees.paths.size);
    // While the model thinks the page must not fall far behind it.
    if (this.isLive) rate = Math.max(rate, waiting / 6);
    this.owed = Math.min(this.owed + (rate * (now - this.before)) / 1000, Math.max(waiting, 1));
    this.before = now;
    if (!Number.isFinite(this.owed)) this.owed = waiting;

    const steps = Math.min(Math.floor(this.owed), waiting);
    const isMoving = steps < 20;
    for (let step = 0; step < steps; step += 1) this.step(isMoving);
    this.owed -= steps;
    if (steps) {
      this.trees.follow();
      this.show();
    }
    if (this.at >= this.messages.length && !this.isLive) this.pause();
    else requestAnimationFrame((later) => this.frame(later));
  }

  step(isMoving) {
    const message = this.messages[this.at];
    this.at += 1;
    this.trees.apply(message, isMoving);
    if (message.kind === "answer") showAnswer(message);
  }

  seek(to) {
    if (to < this.at) {
      this.trees.clear();
      this.at = 0;
      hideAnswer();
    }
    while (this.at < to) this.step(false);
    this.trees.follow();
    this.show();
  }

  show() {
    const position = byId("position");
    position.max = this.messages.length;
    position.value = this.at;
    position.setAttribute("aria-valuetext", `step ${this.at} of ${this.messages.length}`);
    byId("step").textContent = `${this.at} / ${this.messages.length}`;
    byId("play").textContent = this.isPlaying ? "Pause" : "Play";
  }
}

const trees = new Trees(byId("paths-shown"));
const player = new Player(trees);
byId("play").addEventListener("click", () => (player.isPlaying ? player.pause() : player.play()));
byId("first").addEventListener("click", () => { player.pause(); player.seek(0); });
byId("back").addEventListener("click", () => { player.pause(); player.seek(Math.max(0, player.at - 1)); });
byId("next").addEventListener("click", () => { player.pause(); player.seek(Math.min(player.messages.length, player.at + 1)); });
byId("position").addEventListener("input", (event) => { player.pause(); player.seek(Number(event.target.value)); });
if (isCalm()) byId("speed").value = "Infinity";

// --------------------------------------------------------------------------------------------------------------- asking

let asking = null; // the request that is under way

function fields() {
  const temperature = byId("temperature").value;
  return {
    problem: byId("problem").value,
    paths: Number(byId("paths").value),
    select: byId("select").value,
    temperature: temperature === "" ? null : Number(temperature),
    seed: Number(byId("seed").value),
  };
}

function address(question) {
  const given = new URLSearchParams({ problem: question.problem });
  if (question.paths !== 1) given.set("paths", question.paths);
  if (question.select !== "majority") given.set("select", question.select);
  if (question.temperature !== null) given.set("temperature", question.temperature);
  if (question.seed !== 0) given.set("seed", question.seed);
  return `${location.pathname}?${given}`;
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

function showNote(text) {
  byId("notes").append(element("span", {}, text), " ");
}

async function ask(event) {
  if (event) event.preventDefault();
  if (asking) asking.abort();
  const own = new AbortController();
  asking = own;

  const question = fields();
  history.replaceState(null, "", address(question));
  player.clear();
  showError("");
  byId("status").textContent = "";
  for (const id of ["answer", "votes", "usage", "notes"]) byId(id).replaceChildren();
  for (const id of ["result", "player", "legend", "keys"]) byId(id).hidden = true;
  byId("stop").hidden = false;
  byId("try").open = false;
  document.body.dataset.state = "asking";
  player.begin();
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("/api/ask", { method: "POST", headers, body: JSON.stringify(question), signal: own.signal });
    if (response.ok) await read(response.body);
    else showError((await response.json()).error);
  } catch (error) {
    if (error.name === "AbortError") byId("status").textContent = "stopped";
    else showError("the server does not answer; expected evaluate.py --serve to run");
  }
  if (asking !== own) return;
  asking = null;
  player.isLive = false;
  byId("stop").hidden = true;
  document.body.dataset.state = "done";
}

// Reads server-sent events. EventSource cannot send a body, so this reads them from the stream.
async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event.startsWith("data: ")) JSON.parse(event.slice(6)).forEach(receive);
  }
}

const DRAWN = ["frame", "token", "return", "end", "checked", "answer"];

function receive(message) {
  if (message.kind === "waiting") {
    byId("status").textContent = message.ahead ? `waiting: ${plural(message.ahead, "visitor")} before you` : "thinking";
  } else if (message.kind === "error") {
    showError(message.text);
    byId("status").textContent = "";
  } else if (message.kind === "note") {
    showNote(message.text);
  } else if (message.kind === "checking") {
    byId("status").textContent = `the model checks ${message.texts.join(", ")}`;
  } else if (DRAWN.includes(message.kind)) {
    if (!player.messages.length) {
      for (const id of ["result", "player", "legend", "keys"]) byId(id).hidden = false;
    }
    player.add(message);
  }
}

function showAnswer(message) {
  const verdict = message.correct ? "right" : `wrong, ${message.expected} is right`;
  const said = message.text || `no answer: ${message.outcome.replaceAll("_", " ")}`;
  const judged = element("small", { class: message.correct ? "right" : "wrong" }, verdict);
  byId("answer").replaceChildren(said, judged);
  byId("usage").textContent = message.usage;
  byId("status").textContent = message.passed_checks === false ? "the answer did not pass the model's own checks" : "";
  showVotes(message.text);
}

function hideAnswer() {
  for (const id of ["answer", "votes"]) byId(id).replaceChildren();
}

// How many paths gave each answer.
function showVotes(chosen) {
  byId("votes").replaceChildren();
  if (trees.paths.size < 2) return;
  const counts = new Map();
  for (const { answer } of trees.paths.values()) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  for (const [answer, count] of [...counts].sort((one, other) => other[1] - one[1])) {
    const kind = answer === chosen ? { class: "chosen" } : {};
    byId("votes").append(element("span", kind, `${answer ?? "no answer"}: ${plural(count, "path")}`));
  }
}

byId("form").addEventListener("submit", ask);
byId("stop").addEventListener("click", () => asking && asking.abort());
byId("share").addEventListener("click", async () => {
  const copied = await navigator.clipboard.writeText(location.href).then(() => true, () => false);
  byId("status").textContent = copied ? "the link is copied" : `the link is ${location.href}`;
});

// ------------------------------------------------------------------------------------------- tokens and frames by hand

const tip = byId("tip");

function showTip(token) {
  tip.replaceChildren();
  for (const [text, probability] of token.likely) {
    const bar = element("i");
    bar.style.width = `${Math.max(1, 100 * probability)}%`;
    const share = probability >= 0.9995 ? "100%" : `${(100 * probability).toFixed(1)}%`;
    tip.append(element("div", text === token.textContent ? { class: "taken" } : {}, element("span", {}, text), bar, element("b", {}, share)));
  }
  tip.hidden = false;
  const box = token.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8));
  const below = box.bottom + 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : Math.max(8, box.top - tip.offsetHeight - 6)}px`;
  token.setAttribute("aria-describedby", "tip");
}

function hideTip() {
  tip.hidden = true;
}

for (const [kind, isOver] of [["mouseover", true], ["focusin", true], ["mouseout", false], ["focusout", false]]) {
  byId("paths-shown").addEventListener(kind, (event) => {
    if (!event.target.likely) return;
    if (isOver) showTip(event.target);
    else hideTip();
  });
}

const isShown = (item) => item.offsetParent !== null;

function focusFrame(item) {
  if (!item) return;
  const tree = item.closest(".tree");
  for (const other of tree.querySelectorAll('.frame[tabindex="0"]')) other.tabIndex = -1;
  item.tabIndex = 0;
  item.focus();
}

function fold(item, isFolded) {
  item.setAttribute("aria-expanded", String(!isFolded));
}

byId("paths-shown").addEventListener("keydown", (event) => {
  const item = event.target.closest(".frame");
  if (!item) return;
  const isHandled = event.target.classList.contains("tok") ? tokenKey(event.key, event.target, item) : frameKey(event.key, item);
  if (isHandled) event.preventDefault();
});

function tokenKey(key, token, item) {
  const tokens = item.frame.tokens;
  const at = tokens.indexOf(token);
  if (key === "ArrowRight" && at + 1 < tokens.length) tokens[at + 1].focus();
  else if (key === "ArrowLeft" && at > 0) tokens[at - 1].focus();
  else if (key === "Escape") focusFrame(item);
  else return key.startsWith("Arrow");
  return true;
}

function frameKey(key, item) {
  const shown = [...item.closest(".tree").querySelectorAll(".frame")].filter(isShown);
  const at = shown.indexOf(item);
  const children = item.frame.children;
  const isOpen = item.getAttribute("aria-expanded") === "true" && children.childElementCount > 0;
  if (key === "ArrowDown") focusFrame(shown[at + 1]);
  else if (key === "ArrowUp") focusFrame(shown[at - 1]);
  else if (key === "Home") focusFrame(shown[0]);
  else if (key === "End") focusFrame(shown[shown.length - 1]);
  else if (key === "ArrowRight") isOpen ? focusFrame(children.firstElementChild) : fold(item, false);
  else if (key === "ArrowLeft") isOpen ? fold(item, true) : focusFrame(item.parentElement.closest(".frame"));
  else if (key === "Enter" && item.frame.tokens.length) item.frame.tokens[0].focus();
  else return false;
  return true;
}

byId("paths-shown").addEventListener("click", (event) => {
  const item = event.target.closest(".frame");
  if (item && event.target.closest(".line")) focusFrame(item);
});

// --------------------------------------------------------------------------------------------------------------- charts

const WIDTH = 360;
const HEIGHT = 190;
const LEFT = 38;
const RIGHT = 26;
const TOP = 8;
const BOTTOM = 24;

function svg(name, attributes, ...content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

// Colours that differ for every size, and can be told on a dark and on a light page. After ten, lines are dashed too.
const HUES = [212, 28, 145, 352, 272, 186, 48, 320, 95, 235];

function colour(index) {
  return `hsl(${HUES[index % HUES.length]} 68% ${index % 2 ? 46 : 54}%)`;
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function axes(top, label, isShare) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const apart = isShare ? 0.25 : Math.ceil(top / 4);
  for (let value = 0; value <= top; value += apart) {
    const y = up(value, top);
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
    picture.append(svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, isShare ? `${100 * value}%` : String(value)));
  }
  return picture;
}

const up = (value, top) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top;

// Lines over tokens. `lines` is a list of [name, points, index of its colour].
function lineChart(title, lines, { isShare = true, isStep = false } = {}) {
  const points = lines.flatMap(([, line]) => line);
  const end = Math.max(1, ...points.map(([step]) => step));
  const top = isShare ? 1 : Math.max(1, ...points.map(([, value]) => value));
  const across = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / end;
  const last = lines.map(([name, line]) => `${name}: ${line.length ? said(line[line.length - 1][1], isShare) : "nothing"}`);
  const picture = axes(top, `${title}. At the end ${last.join(", ")}`, isShare);
  picture.append(svg("text", { x: LEFT, y: HEIGHT - 6 }, "0"));
  picture.append(svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, `${short.format(end)} tokens`));

  const key = element("ul", { class: "key" });
  for (const [name, line, index] of lines) {
    if (!line.length) continue;
    let path = "";
    line.forEach(([step, value], at) => {
      if (isStep && at) path += `H${across(step).toFixed(1)}`;
      path += `${at ? "L" : "M"}${across(step).toFixed(1)} ${up(value, top).toFixed(1)}`;
    });
    const drawn = svg("path", { class: "curve", d: path });
    drawn.style.stroke = colour(index);
    if (index >= HUES.length) drawn.style.strokeDasharray = "5 3";
    picture.append(drawn);
    if (line.length === 1) {
      const dot = svg("circle", { cx: across(line[0][0]), cy: up(line[0][1], top), r: 3 });
      dot.style.fill = colour(index);
      picture.append(dot);
    }
    const swatch = element("i");
    swatch.style.background = colour(index);
    key.append(element("li", {}, swatch, name));
  }
  return element("section", { class: "chart" }, element("h2", {}, title), picture, key);
}

const said = (value, isShare) => (isShare ? `${(100 * value).toFixed(value === 1 || value === 0 ? 0 : 1)}%` : String(value));

// Bars by size: before PPO beside after it, with the 95% interval of the latter.
function barChart({ family, rows }) {
  const hasBefore = rows.some((row) => row.before !== null);
  const label = rows.map((row) => `size ${row.size}: ${hasBefore && row.before !== null ? `${said(row.before, true)} before, ` : ""}${said(row.after, true)}`);
  const picture = axes(1, `${family}. ${label.join("; ")}`, true);
  const room = (WIDTH - LEFT - RIGHT) / rows.length;
  const wide = Math.min(26, (room * 0.8) / (hasBefore ? 2 : 1));
  rows.forEach((row, index) => {
    const middle = LEFT + room * (index + 0.5);
    let x = middle - (hasBefore ? wide : wide / 2);
    for (const [kind, value] of [["before", row.before], ["after", row.after]]) {
      if (kind === "before" && !hasBefore) continue;
      const y = up(value ?? 0, 1);
      picture.append(svg("rect", { class: kind, x, y, width: wide - 1, height: HEIGHT - BOTTOM - y }, svg("title", {}, `${kind} ${said(value ?? 0, true)}`)));
      x += wide;
    }
    const at = hasBefore ? middle + wide / 2 : middle;
    picture.append(svg("line", { class: "interval", x1: at, x2: at, y1: up(row.low, 1), y2: up(row.high, 1) }));
    picture.append(svg("text", { x: middle, y: HEIGHT - 8, "text-anchor": "middle" }, row.size));
  });

  const head = element("tr", {}, ...["size", "problems", ...(hasBefore ? ["before PPO"] : []), hasBefore ? "after PPO" : "right", "95% interval"].map((name) => element("th", { scope: "col" }, name)));
  const table = element("table", {}, element("thead", {}, head));
  const bodyRows = rows.map((row) => {
    const cells = [row.size, row.n, ...(hasBefore ? [row.before === null ? "" : said(row.before, true)] : []), said(row.after, true), `${said(row.low, true)} to ${said(row.high, true)}`];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, String(cell))));
  });
  table.append(element("tbody", {}, ...bodyRows));
  return element("section", { class: "chart" }, element("h2", {}, family), picture, element("details", {}, element("summary", {}, "Figures"), table));
}

// ------------------------------------------------------------------------------------------------------------- the tabs

async function get(path) {
  const response = await fetch(path);
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

async function showFigures() {
  const { source, families } = await get("/api/figures");
  byId("figures-shown").replaceChildren(...families.map(barChart));
  const hasBefore = families.some(({ rows }) => rows.some((row) => row.before !== null));
  const bars = hasBefore ? "Grey: before PPO; blue: after it; line: 95% interval." : "Line: 95% interval.";
  byId("figures-note").textContent = families.length
    ? `Held-out problems, greedy, by family and size, from ${source}. ${bars}`
    : "No measurements beside this model. A run of train_rl.py writes results.json; evaluate.py --json NAME.json beside NAME.pth does too.";
}

let following = 0; // the timer that looks at the run again

async function listRuns() {
  const names = await get("/api/runs");
  const chosen = byId("run").value;
  byId("run").replaceChildren(...names.map(({ name, finished }) => element("option", { value: name }, finished ? name : `${name} (not finished)`)));
  if (names.some(({ name }) => name === chosen)) byId("run").value = chosen;
  if (names.length) await showRun();
  else byId("run-note").textContent = "No runs here yet: python train_rl.py starts one.";
}

const bySize = ([one], [other]) => one.localeCompare(other, "en", { numeric: true });

async function showRun() {
  clearTimeout(following);
  const name = byId("run").value;
  const run = await get(`/api/runs/${encodeURIComponent(name)}`);
  if (name !== byId("run").value) return;
  const config = Object.entries(run.config).map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`).join(", ");
  byId("run-note").textContent = `${run.finished ? "Finished" : "Not finished: the page looks again every 5 seconds"}. ${config}. Sampled while PPO runs; sizes open as smaller ones are solved.`;

  const charts = [];
  const solved = Object.entries(run.solved).filter(([, points]) => points.length);
  const names = { "rollout/success_rate": "sampled, PPO", "warm_start/accuracy": "warm start", "evaluation/average": "held out" };
  if (solved.length) charts.push(lineChart("solved", solved.map(([tag, points], index) => [names[tag], points, index])));
  for (const [family, sizes] of Object.entries(run.success).sort()) {
    const lines = Object.entries(sizes).sort(bySize).map(([size, points], index) => [`size ${size}`, points, /^\d+$/.test(size) ? size - 1 : index]);
    charts.push(lineChart(`success, ${family}`, lines));
  }
  const frontier = Object.entries(run.frontier).sort();
  if (frontier.length) {
    charts.push(lineChart("largest open size", frontier.map(([family, points], index) => [family, points, index]), { isShare: false, isStep: true }));
  }
  if (!charts.length) charts.push(element("p", {}, "No curves yet."));
  byId("run-charts").replaceChildren(...charts);
  const texts = Object.entries(run.transcripts).map(([kind, text]) => element("section", { class: "chart" }, element("h2", {}, `transcripts: ${kind}`), element("pre", { tabindex: "0" }, text)));
  byId("transcripts").replaceChildren(...texts);
  if (!run.finished && !byId("training").hidden) following = setTimeout(() => showRun().catch(showRunError), 5000);
}

function showRunError(error) {
  byId("run-note").textContent = error.message;
}

byId("run").addEventListener("change", () => showRun().catch(showRunError));

const tabs = [...document.querySelectorAll("[role=tab]")];
const opens = { "tab-figures": showFigures, "tab-training": listRuns };

function openTab(tab) {
  clearTimeout(following);
  for (const other of tabs) {
    const isChosen = other === tab;
    other.setAttribute("aria-selected", String(isChosen));
    other.tabIndex = isChosen ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !isChosen;
  }
  if (opens[tab.id]) opens[tab.id]().catch(showRunError);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const other = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    other.focus();
    openTab(other);
  });
}

// ---------------------------------------------------------------------------------------------------------------- start

async function start() {
  const about = await get("/api/about");
  byId("model").textContent = about.model;
  byId("paths").max = about.max_paths;
  byId("problem").maxLength = about.max_characters;
  const choices = { majority: "majority: the most frequent", likelihood: "likelihood: of the likeliest path", check: "check: passes its own checks" };
  byId("select").append(...about.choices.map((choice) => element("option", { value: choice }, choices[choice] ?? choice)));
  for (const { family, problem } of about.examples) {
    const button = element("button", { type: "button" }, element("span", {}, family), problem);
    button.addEventListener("click", () => {
      byId("problem").value = problem;
      ask();
    });
    byId("examples").append(button);
  }

  // A shared link has the problem, the seed and the options.
  const given = new URLSearchParams(location.search);
  for (const name of ["problem", "paths", "select", "temperature", "seed"]) if (given.has(name)) byId(name).value = given.get(name);
  if (given.has("problem")) ask();
  document.body.dataset.state ??= "ready";
}

start().catch((error) => showError(error.message));

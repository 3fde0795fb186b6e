"use strict";
(() => {
  // == The view, and what follows from it

  const STATES = ["finished", "reused", "failed", "skipped", "running", "stopped", "not run"];
  const view = JSON.parse(document.getElementById("view").textContent);
  const nodes = view.nodes;
  for (const name of Object.keys(nodes)) nodes[name] = unpacked(nodes[name], view.count);
  const derived = {};

  function unpacked(column, count) {
    if (Array.isArray(column)) return column;
    return column.index ? column.index.map(i => column.values[i]) : new Array(count).fill(column.same);
  }

  function derive() {
    const {name, needs, state, seconds, started} = nodes;
    const count = name.length;
    const children = Array.from({length: count}, () => []);
    needs.forEach((parents, i) => parents.forEach(p => children[p].push(i)));
    const numbers = new Map(name.map((text, i) => [text, i]));
    const makers = new Set(); // nodes that returned other nodes: their time is spent in these
    for (const text of name) {
      const maker = numbers.get(prefixOf(text));
      if (maker !== undefined) makers.add(maker);
    }
    const counts = Object.fromEntries(STATES.map(s => [s, 0]));
    for (const s of state) counts[s]++;
    const ends = started.map((at, i) => at === null ? null : at + took(i, state, seconds, started));
    Object.assign(derived, {count, children, makers, counts, ends});
    derived.first = started.reduce((least, at) => at === null ? least : Math.min(least, at), Infinity);
    derived.last = ends.reduce((most, at) => at === null ? most : Math.max(most, at), view.run.seconds);
    derived.work = total(seconds.filter((_, i) => !makers.has(i)));
    derived.groups = {};
    derived.order = orderOfFunctions();
    derived.lanes = lanesOf();
    derived.load = loadOf();
  }

  function took(i, state, seconds, started) {
    if (seconds[i] !== null) return seconds[i];
    return state[i] === "running" ? Math.max(0, view.run.seconds - started[i]) : 0;
  }

  /** Functions, most work first; their colours go by this order. */
  function orderOfFunctions() {
    const work = new Map();
    nodes.function.forEach((f, i) => work.set(f, (work.get(f) || 0) + (nodes.seconds[i] || 0)));
    return new Map([...work.keys()].sort((a, b) => work.get(b) - work.get(a)).map((f, n) => [f, n]));
  }

  const GROUPINGS = {"By function": i => nodes.function[i], "By name prefix": i => derived.prefix(nodes.name[i])};
  const MOST_GROUPS = 60, ROUNDED = 1e-4; // seconds by which times may be off

  /** Groups of nodes: [{title, members}], in the order of their first members. */
  function groupsBy(grouping) {
    if (derived.groups[grouping]) return derived.groups[grouping];
    const distinct = new Set(nodes.name.map(prefixOf));
    derived.prefix = distinct.size <= MOST_GROUPS ? prefixOf : firstPartOf;
    const keyOf = GROUPINGS[grouping], members = new Map();
    for (let i = 0; i < derived.count; i++) {
      const key = keyOf(i);
      if (members.has(key)) members.get(key).push(i); else members.set(key, [i]);
    }
    let groups = [...members].map(([key, of]) => ({title: key || "(no prefix)", members: of}));
    if (groups.length > MOST_GROUPS) {
      const kept = new Set([...groups].sort((a, b) => b.members.length - a.members.length).slice(0, MOST_GROUPS - 1));
      const others = groups.filter(g => !kept.has(g)).flatMap(g => g.members).sort((a, b) => a - b);
      groups = [...groups.filter(g => kept.has(g)), {title: `(${count(groups.length - kept.size)} others)`, members: others}];
      groups.sort((a, b) => a.members[0] - b.members[0]);
    }
    return derived.groups[grouping] = groups;
  }

  function prefixOf(name) { return name.slice(0, Math.max(0, name.lastIndexOf("/"))); }
  function firstPartOf(name) { return name.slice(0, Math.max(0, name.indexOf("/"))); }

  /** Rows of the timeline: nodes that ran at the same time on one worker are in different lanes. */
  function lanesOf() {
    const order = numbersWhere(i => nodes.started[i] !== null).sort((a, b) => nodes.started[a] - nodes.started[b]);
    const workers = new Map();
    for (const i of order) {
      const worker = nodes.worker[i];
      if (!workers.has(worker)) workers.set(worker, []);
      const lanes = workers.get(worker);
      let lane = lanes.find(l => l.end <= nodes.started[i] + ROUNDED);
      if (!lane) lanes.push(lane = {worker: worker || "worker not known", isFirst: !lanes.length, of: [], end: 0});
      lane.of.push(i);
      lane.end = derived.ends[i];
    }
    return [...workers.values()].flat();
  }

  /** How many nodes ran at once: [time, number] where the number changes. */
  function loadOf() {
    const ran = numbersWhere(i => nodes.started[i] !== null && !derived.makers.has(i));
    const starts = Float64Array.from(ran, i => nodes.started[i]).sort();
    const ends = Float64Array.from(ran, i => Math.max(nodes.started[i], derived.ends[i] - ROUNDED)).sort();
    const steps = [];
    for (let s = 0, e = 0; e < ends.length;) {
      const at = s < starts.length && starts[s] < ends[e] ? starts[s++] : ends[e++];
      steps.push([at, s - e]);
    }
    return steps;
  }

  function numbersWhere(test) {
    const found = [];
    for (let i = 0; i < derived.count; i++) if (test(i)) found.push(i);
    return found;
  }

  /** A node, all that it is made from, and all that is made from it. */
  function relativesOf(i) {
    const all = new Set([i]);
    for (const near of [nodes.needs, derived.children]) {
      const todo = [i], seen = new Set([i]);
      while (todo.length) for (const j of near[todo.pop()]) if (!seen.has(j)) { seen.add(j); all.add(j); todo.push(j); }
    }
    return all;
  }

  /** The relatives of a node that are the fewest steps away, at most `most`, in the order of the graph. */
  function nearestRelativesOf(i, most) {
    const seen = new Set([i]), queues = [[[i], nodes.needs], [[i], derived.children]];
    while (seen.size < most && queues.some(([todo]) => todo.length))
      for (const queue of queues) {
        const next = [];
        for (const j of queue[0]) for (const k of queue[1][j]) if (!seen.has(k) && seen.size < most) { seen.add(k); next.push(k); }
        queue[0] = next;
      }
    return [...seen].sort((a, b) => a - b);
  }

  // == Numbers as texts

  const total = values => values.reduce((sum, v) => sum + (v || 0), 0);
  const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, ","); // toLocaleString loads its data for 0.1 s
  const many = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

  function duration(s) {
    if (s === null || s === undefined) return "";
    if (s < 0.0009995) return `${Math.round(s * 1e6)} µs`;
    if (s < 0.9995) return `${+(s * 1e3).toPrecision(3)} ms`;
    if (s < 59.95) return `${+s.toPrecision(s < 10 ? 2 : 3)} s`;
    const all = Math.round(s), h = Math.floor(all / 3600), m = Math.floor(all % 3600 / 60);
    if (h) return `${count(h)} h ${m} min`;
    return all % 60 ? `${m} min ${all % 60} s` : `${m} min`;
  }

  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  function moment(seconds) {
    const at = new Date(seconds * 1000), two = n => String(n).padStart(2, "0");
    return `${at.getDate()} ${MONTHS[at.getMonth()]} ${at.getFullYear()}, ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
  }

  function bytes(b) {
    if (b === null || b === undefined) return "";
    for (const unit of ["B", "KB", "MB", "GB"]) {
      if (b < 999.5) return `${+b.toPrecision(3)} ${unit}`;
      b /= 1000;
    }
    return `${+b.toPrecision(3)} TB`;
  }

  function shortened(text, most) {
    if (text.length <= most) return text;
    const front = most >> 1;
    return `${text.slice(0, front)}…${text.slice(text.length - (most - front - 1))}`;
  }

  /** The longest form of a text that is at most `width` wide, in units of 12 pixel letters. */
  function fitted(text, width) {
    const line = text.replace(/\s+/g, " ");
    const wide = (line.match(/[\u1100-\uffff]/g) || []).length;
    return shortened(line, Math.max(2, Math.floor(width / (wide * 2 > line.length ? 12.5 : 6.9))));
  }

  // == Elements: texts are set as texts, never as HTML

  function build(element, properties, inside) {
    for (const [key, value] of Object.entries(properties)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...inside.flat(Infinity).filter(x => x !== null && x !== undefined && x !== ""));
    return element;
  }
  const html = (name, properties = {}, ...inside) => build(document.createElement(name), properties, inside);
  const svg = (name, properties = {}, ...inside) => build(document.createElementNS("http://www.w3.org/2000/svg", name), properties, inside);
  const named = (text, most = 120) => html("bdi", {title: text.length > most ? text : null}, shortened(text, most));

  const MARKS = {
    finished: "M2 6.5 5 9.5 10 3", reused: "M10 6a4 4 0 1 1-1.2-2.8M9 1v2.4H6.6", failed: "M3 3l6 6M9 3l-6 6", skipped: "M2.5 6h7",
    running: "M4 2.5 9.5 6 4 9.5z", stopped: "M3.5 3.5h5v5h-5z", "not run": "M6 3.5a2.5 2.5 0 1 0 .01 0",
  };
  const classOf = state => state.replace(" ", "-");
  const mark = state => svg("svg", {viewBox: "0 0 12 12", class: `mark ${classOf(state)}`, "aria-hidden": "true"}, svg("path", {d: MARKS[state]}));

  function button(text, properties, act) { return html("button", {type: "button", ...properties, onclick: act}, text); }

  /** Buttons of which one is pressed. */
  function choice(label, options, value, act) {
    const group = html("span", {role: "group", "aria-label": label, class: "choice"});
    const press = option => { for (const b of group.children) b.setAttribute("aria-pressed", b.textContent === option); };
    group.append(...options.map(option => button(option, {}, () => { press(option); act(option); })));
    press(value);
    group.press = press;
    return group;
  }

  /** Replace what is inside an element; details that are open stay open, and the focus stays where it was. */
  function refill(element, ...inside) {
    const keyOf = e => e.dataset.key;
    const open = new Map([...element.querySelectorAll("details[data-key]")].map(d => [keyOf(d), d.open]));
    const focused = element.contains(document.activeElement) ? keyOf(document.activeElement) : undefined;
    element.replaceChildren(...inside.flat(Infinity).filter(x => x !== null && x !== ""));
    for (const d of element.querySelectorAll("details[data-key]")) if (open.has(keyOf(d))) d.open = open.get(keyOf(d));
    if (focused) [...element.querySelectorAll("[data-key]")].find(e => keyOf(e) === focused)?.focus({preventScroll: true});
  }

  function table(head, rows, properties = {}) {
    const cells = (row, name) => row.map((cell, n) => html(name, {class: head[n].number ? "number" : head[n].name ? "name" : null, scope: name === "th" ? "col" : null}, cell));
    const titled = head.some(h => h.title);
    return html("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${properties.label}`}, html("table", {class: "plain"},
      titled ? html("thead", {}, html("tr", {}, head.map((h, n) => h.title ? html("th", {class: h.number ? "number" : null, scope: "col"}, h.title) : html("td")))) : null,
      html("tbody", {}, rows.map(row => html("tr", {}, cells(row, "td"))))));
  }

  /** A bar of states, as wide as their counts. */
  function strip(counts, name = "strip") {
    const all = total(Object.values(counts)) || 1, there = STATES.filter(s => counts[s]);
    let at = 0;
    const bars = there.map(s => { const width = counts[s] / all * 1000, x = at; at += width; return svg("rect", {class: classOf(s), x, width, height: 10}); });
    return svg("svg", {class: name, viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": there.map(s => `${count(counts[s])} ${s}`).join(", ") || "no nodes"}, bars);
  }

  /** Whiskers from least to most, a box over the middle half, a line at the median; on a square root scale. */
  function boxPlot(values, top, text) {
    if (!values.length || !top) return "";
    const sorted = Float64Array.from(values).sort(), at = q => {
      const place = q * (sorted.length - 1), low = Math.floor(place);
      return sorted[low] + (sorted[Math.ceil(place)] - sorted[low]) * (place - low);
    };
    const x = [0, 0.25, 0.5, 0.75, 1].map(q => 2 + 156 * Math.sqrt(at(q) / top));
    const said = `least ${text(at(0))}, median ${text(at(0.5))}, most ${text(at(1))}`;
    return svg("svg", {class: "box", viewBox: "0 0 160 16", role: "img", "aria-label": said}, svg("title", {}, said),
      svg("path", {d: `M${x[0]} 8H${x[4]}M${x[0]} 4v8M${x[4]} 4v8`}), svg("rect", {x: x[1], y: 2.5, width: Math.max(2, x[3] - x[1]), height: 11, rx: 2}),
      svg("path", {class: "median", d: `M${x[2]} 2.5v11`}));
  }

  // == Sections

  class Section {
    /**
     * @param {string} id - of the element, and of links to it
     * @param {string} title
     * @param {boolean} isWide - whether it takes the whole width of the page
     */
    constructor(id, title, isWide = true) {
      this.note = html("span", {class: "soft note"});
      this.tools = html("span", {class: "tools"});
      this.body = html("div");
      this.heading = html("h2", {}, title);
      this.head = html("div", {class: "head"}, this.heading, this.note, this.tools);
      this.element = html("section", {id, class: isWide ? "wide" : "half", "aria-label": title}, this.head, this.body);
      this.link = html("a", {href: `#${id}`}, title);
    }
    /** Show it, or hide it with its link. */
    show(isShown) { this.element.hidden = this.link.hidden = !isShown; }
    draw() {}
    choose() {}
  }

  class Overview extends Section {
    constructor() {
      super("overview", "Overview");
      this.head.remove();
    }
    draw() {
      const {counts} = derived;
      const legend = STATES.filter(s => counts[s]).map(s =>
        html("button", {type: "button", "data-key": s, title: `Show the nodes that are ${s}`, onclick: () => sections.nodes.only(s)}, mark(s), html("b", {}, count(counts[s])), s));
      refill(this.body, strip(counts), html("div", {class: "legend"}, legend), html("div", {class: "cards"}, this.cards().map(([label, figure, more]) =>
        html("div", {class: "card"}, html("div", {class: "label"}, label), html("div", {class: "figure"}, figure), html("div", {class: "label more"}, more)))));
    }
    cards() {
      const {run} = view, {seconds, before, state, memory, name} = nodes, cards = [];
      const was = run.previous && run.previous.seconds, change = was ? Math.round((run.seconds - was) / was * 100) : 0;
      cards.push(["Wall time", duration(run.seconds), was ? change ? `${Math.abs(change)}% ${change < 0 ? "less" : "more"} than the run before` : "as the run before" : ""]);
      if (derived.work) cards.push(["Work", duration(derived.work), `${(derived.work / Math.max(run.seconds, 1e-6)).toFixed(1)} nodes at once on average`]);
      const reused = numbersWhere(i => state[i] === "reused"), known = reused.filter(i => before[i] !== null);
      if (known.length) cards.push(["Saved by reuse", duration(total(known.map(i => before[i]))), known.length < reused.length ? `known of ${count(known.length)} of ${many(reused.length, "result")}` : many(reused.length, "result") + " taken as they were"]);
      const slowest = greatest(seconds, i => !derived.makers.has(i)), largest = greatest(memory, () => true);
      if (slowest >= 0) cards.push(["Slowest node", duration(seconds[slowest]), named(name[slowest], 44)]);
      if (largest >= 0) cards.push(["Most memory", bytes(memory[largest]), named(name[largest], 44)]);
      if (isFinite(derived.first) && derived.first > 0) cards.push(["Before the first node", duration(derived.first), GAP]);
      return cards;
    }
  }
  const GAP = "planning, starting the engine";

  function greatest(values, test) {
    let found = -1;
    values.forEach((v, i) => { if (v && test(i) && (found < 0 || v > values[found])) found = i; });
    return found;
  }

  class Failures extends Section {
    constructor() {
      super("failures", "Failures");
      this.element.classList.add("bad");
    }
    draw() {
      const failed = numbersWhere(i => nodes.state[i] === "failed"), {counts} = derived;
      this.show(failed.length > 0 || view.run.error);
      this.note.textContent = failed.length ? count(failed.length) + " failed" + (counts.skipped ? `; ${count(counts.skipped)} that need them did not run` : "") : "";
      const shown = failed.slice(0, 20).map((i, n) => html("details", {"data-key": nodes.name[i], open: n === 0},
        html("summary", {}, mark("failed"), " ", html("b", {}, named(nodes.name[i])), " ", html("span", {class: "soft"}, shortened(causeOf(nodes.error[i]), 200))),
        failure(i), button("Show the node", {"data-key": `node ${nodes.name[i]}`}, () => choose(i))));
      const more = failed.length - shown.length;
      refill(this.body, failed.length ? [] : [html("pre", {}, view.run.error)], shown,
        more > 0 ? [html("p", {}, `And ${count(more)} more. `, button("Show all in the table", {"data-key": "all"}, () => sections.nodes.only("failed")))] : []);
    }
  }

  /** The line of an error that says what happened. */
  function causeOf(error) { return error.split("\n")[0].replace(/^node .*? failed: /, ""); }

  function failure(i) {
    const parts = nodes.error[i] ? [html("pre", {}, nodes.error[i])] : [];
    const given = nodes.arguments[i];
    if (given.length) parts.push(html("h3", {}, "Arguments"), html("dl", {class: "facts"}, given.map(([name, text]) => [html("dt", {class: "mono"}, named(name)), html("dd", {class: "mono"}, text)])));
    if (nodes.output[i]) parts.push(html("h3", {}, "Captured output"), html("pre", {}, nodes.output[i]));
    return parts;
  }

  class Results extends Section {
    constructor() { super("results", "Results", false); }
    draw() {
      const shown = view.wanted.slice(0, 24);
      this.show(shown.length > 0);
      this.note.textContent = shown.length < view.wanted.length ? `${shown.length} of ${count(view.wanted.length)} that were asked for` : "";
      refill(this.body, html("div", {class: "results"}, shown.map(i => {
        const p = nodes.preview[i];
        const kind = [p && p.type, p && p.shape, bytes(nodes.size[i])].filter(Boolean).join(" · ") || nodes.state[i];
        return html("div", {class: "result"}, html("h3", {}, button(shortened(nodes.name[i], 120), {class: "link", "data-key": nodes.name[i]}, () => choose(i))),
          html("div", {class: "label"}, mark(nodes.state[i]), " ", kind), preview(i));
      })));
    }
  }

  function preview(i) {
    const p = nodes.preview[i];
    if (!p) return [];
    const image = p.image ? [html("img", {src: `data:image/png;base64,${p.image}`, alt: `preview of the result of ${nodes.name[i]}`})] : [];
    return [...image, ...(p.text ? [html("pre", {tabindex: "0"}, p.text)] : [])];
  }

  class Changes extends Section {
    constructor() { super("changes", "What changed", false); }
    draw() {
      const causes = new Map();
      for (let i = 0; i < derived.count; i++) if (nodes.state[i] !== "reused" && nodes.state[i] !== "skipped" && nodes.reason[i]) {
        const cause = nodes.reason[i].replace(/(?:input )?(?:'[^']*'|"[^"]*")(?: \(and [\d,]+ more\))? (will run|changed)/g, "an input $1");
        causes.set(cause, (causes.get(cause) || 0) + 1);
      }
      const ran = [...causes].sort((a, b) => b[1] - a[1]);
      refill(this.body, this.counted("Why nodes ran", ran, "Nothing had to run."), view.begins.length ? this.counted("Where it begins", view.begins, "") : [], this.beside(), this.slower());
    }
    counted(title, rows, otherwise) {
      const shown = rows.slice(0, 8).map(([cause, n]) => [named(cause, 160), many(n, "node")]);
      if (rows.length > 8) shown.push([html("span", {class: "soft"}, `and ${count(rows.length - 8)} more`), ""]);
      return [html("h3", {}, title), rows.length ? table([{name: true}, {number: true}], shown, {label: title}) : html("p", {class: "soft"}, otherwise)];
    }
    beside() {
      const {previous, seconds, id} = view.run;
      if (!previous) return [];
      const columns = STATES.filter(s => derived.counts[s] || previous.counts[s]);
      const row = (title, counts, wall) => [title, ...columns.map(s => count(counts[s] || 0)), duration(wall)];
      return [html("h3", {}, "Beside the run before"), table([{title: "run"}, ...columns.map(title => ({title, number: true})), {title: "wall time", number: true}],
        [row(html("span", {}, "this run"), derived.counts, seconds), row(html("code", {}, shortened(previous.id, 40)), previous.counts, previous.seconds)], {label: "beside the run before"})];
    }
    slower() {
      const by = i => nodes.seconds[i] - nodes.before[i];
      const slower = numbersWhere(i => nodes.seconds[i] && nodes.before[i] && by(i) > Math.max(0.05, nodes.before[i] * 0.1)).sort((a, b) => by(b) - by(a)).slice(0, 5);
      if (!slower.length) return [];
      return [html("h3", {}, "Slower than before"), table([{name: true}, {number: true}],
        slower.map(i => [button(shortened(nodes.name[i], 60), {class: "link", "data-key": `slower ${i}`}, () => choose(i)), `${duration(nodes.before[i])} → ${duration(nodes.seconds[i])}`]), {label: "slower than before"})];
    }
  }

  // == The graph

  /**
   * Positions of boxes in layers from left to right, by the method of Sugiyama, Tagawa and Toda ("Methods for visual
   * understanding of hierarchical system structures", IEEE Transactions on Systems, Man, and Cybernetics 11, 1981):
   * layers by the longest path, order by barycenters, and then coordinates; these are the nearest to the barycenters
   * that keep order and distance, by pool adjacent violators. All long edges of a box share their bends.
   *
   * @param {number[][]} sizes - width and height of each box
   * @param {number[][]} edges - pairs of numbers of boxes; those that lead back are laid out as if turned around
   * @param {number} across - the distance of layers
   * @param {number} along - the distance of boxes in a layer
   * @returns {{x: number[], y: number[], width: number, height: number, route: function}} left and top of each box,
   *   the size of all, and a function that returns the points [left, right, y] between two boxes of an edge
   */
  function layered(sizes, edges, across, along) {
    const n = sizes.length, parents = Array.from({length: n}, () => []), layer = new Array(n).fill(0);
    for (const [a, b] of edges) if (a !== b) parents[Math.max(a, b)].push(Math.min(a, b));
    for (let i = 0; i < n; i++) for (const p of parents[i]) layer[i] = Math.max(layer[i], layer[p] + 1);
    const nearest = new Map();
    parents.forEach((ps, i) => ps.forEach(p => nearest.set(p, Math.min(nearest.get(p) ?? Infinity, layer[i]))));
    for (let i = 0; i < n; i++) if (!parents[i].length && nearest.has(i)) layer[i] = nearest.get(i) - 1;

    const rows = Array.from({length: Math.max(0, ...layer) + 1}, () => []), high = sizes.map(s => s[1]);
    const up = parents.map(() => []), bends = new Map();
    for (let i = 0; i < n; i++) rows[layer[i]].push(i);
    const bendOf = (p, level) => {
      if (level === layer[p]) return p;
      const key = `${p} ${level}`;
      if (!bends.has(key)) {
        const before = bendOf(p, level - 1), bend = high.length;
        high.push(along / 2); up.push([before]); rows[level].push(bend); bends.set(key, bend);
      }
      return bends.get(key);
    };
    parents.forEach((ps, i) => { for (const p of ps) up[i].push(bendOf(p, layer[i] - 1)); });
    const down = high.map(() => []);
    up.forEach((us, i) => us.forEach(u => down[u].push(i)));

    const mean = values => total(values) / values.length, place = new Array(high.length).fill(0);
    const number = row => row.forEach((i, k) => { place[i] = (k + 0.5) / row.length; });
    rows.forEach(number);
    for (let sweep = 0; sweep < 8; sweep++) {
      const near = sweep % 2 ? down : up;
      for (const row of sweep % 2 ? [...rows].reverse() : rows) {
        const wish = new Map(row.map(i => [i, near[i].length ? mean(near[i].map(j => place[j])) : place[i]]));
        row.sort((a, b) => wish.get(a) - wish.get(b));
        number(row);
      }
    }

    const middle = new Array(high.length).fill(0);
    for (const row of rows) {
      let at = 0;
      for (const i of row) { middle[i] = at + high[i] / 2; at += high[i] + along; }
      for (const i of row) middle[i] -= at / 2;
    }
    for (let sweep = 0; sweep < 10; sweep++) {
      const isLast = sweep > 7;
      for (const row of sweep % 2 ? rows : [...rows].reverse()) {
        const wishes = row.map(i => {
          const near = isLast ? [...up[i], ...down[i]] : sweep % 2 ? up[i] : down[i];
          return near.length ? mean(near.map(j => middle[j])) : middle[i];
        });
        spread(wishes, row.map(i => high[i]), along).forEach((y, k) => { middle[row[k]] = y; });
      }
    }
    const least = Math.min(0, ...middle.map((y, i) => y - high[i] / 2)), top = middle.length ? Math.min(...middle.map((y, i) => y - high[i] / 2)) : least;
    const wide = rows.map(row => Math.max(0, ...row.filter(i => i < n).map(i => sizes[i][0]))), left = [];
    wide.forEach((w, k) => left.push(k ? left[k - 1] + wide[k - 1] + across : 0));
    return {
      x: sizes.map((s, i) => left[layer[i]]),
      y: sizes.map((s, i) => middle[i] - s[1] / 2 - top),
      width: wide.length ? left[left.length - 1] + wide[wide.length - 1] : 0,
      height: Math.max(0, ...middle.map((y, i) => y + high[i] / 2 - top)),
      route: (a, b) => {
        const points = [];
        for (let level = layer[a] + 1; level < layer[b]; level++) points.push([left[level], left[level] + wide[level], middle[bends.get(`${a} ${level}`)] - top]);
        return points;
      },
    };
  }

  /** The middles nearest to what is wished that keep order and distance: pool adjacent violators. */
  function spread(wishes, sizes, gap) {
    const offsets = [0], pools = [];
    for (let k = 1; k < sizes.length; k++) offsets.push(offsets[k - 1] + (sizes[k - 1] + sizes[k]) / 2 + gap);
    wishes.forEach((wish, k) => {
      pools.push([wish - offsets[k], 1]);
      while (pools.length > 1 && pools[pools.length - 2][0] > pools[pools.length - 1][0]) {
        const [a, m] = pools.pop(), [b, n] = pools.pop();
        pools.push([(a * m + b * n) / (m + n), m + n]);
      }
    });
    return pools.flatMap(([at, n]) => new Array(n).fill(at)).map((at, k) => at + offsets[k]);
  }

  function curve(x0, y0, points, x1, y1) {
    let path = `M${x0} ${y0}`, x = x0, y = y0;
    for (const [left, right, to] of [...points, [x1, x1, y1]]) {
      const m = (x + left) / 2;
      path += `C${m} ${y} ${m} ${to} ${left} ${to}H${right}`;
      x = right; y = to;
    }
    return path;
  }

  /** Call with the width and height of an element once it has them, and when they change; asking for them costs a layout. */
  function onResize(element, act) {
    new ResizeObserver(entries => { const {width, height} = entries.at(-1).contentRect; act(width, height); }).observe(element);
  }

  /** A drawing that is moved by its transform, which costs no new painting, and zoomed by its size. */
  class Viewport {
    constructor(label, act) {
      this.act = act;
      this.svg = svg("svg", {class: "drawing", role: "group", "aria-label": label});
      this.element = html("div", {class: "viewport", tabindex: "0", role: "region", "aria-label": `${label}; arrow keys move it, plus and minus zoom`}, this.svg);
      this.x = this.y = 0;
      this.k = 1;
      this.isFitted = true;
      const e = this.element;
      e.addEventListener("pointerdown", event => { if (event.button === 0) this.grip = {x: event.clientX - this.x, y: event.clientY - this.y, moved: false, from: [event.clientX, event.clientY]}; });
      e.addEventListener("pointermove", event => this.drag(event));
      e.addEventListener("pointerup", () => { this.dragged = Boolean(this.grip && this.grip.moved); this.grip = null; });
      e.addEventListener("pointercancel", () => { this.grip = null; });
      e.addEventListener("pointerleave", () => hint(null, -1));
      e.addEventListener("click", event => { if (!this.dragged) choose(this.act.at(event, ...this.point(event))); this.dragged = false; });
      e.addEventListener("wheel", event => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); this.zoom(Math.exp(-event.deltaY / 240), event); } }, {passive: false});
      e.addEventListener("keydown", event => this.key(event));
      onResize(e, width => { if (width !== this.wide) { this.wide = width; if (this.isFitted) this.fit(); } });
    }
    point(event) {
      const box = this.element.getBoundingClientRect();
      return [(event.clientX - box.left - this.x) / this.k, (event.clientY - box.top - this.y) / this.k];
    }
    drag(event) {
      const {grip} = this;
      if (!grip) return hint(event, this.act.at(event, ...this.point(event)));
      if (!grip.moved && Math.hypot(event.clientX - grip.from[0], event.clientY - grip.from[1]) < 4) return;
      if (!grip.moved) { grip.moved = true; this.element.setPointerCapture(event.pointerId); hint(null, -1); }
      this.move(event.clientX - grip.x, event.clientY - grip.y);
    }
    move(x, y) {
      this.x = x; this.y = y; this.isFitted = false;
      this.place();
    }
    place() { this.svg.style.transform = `translate(${this.x}px, ${this.y}px)`; }
    scale(k) {
      this.k = k;
      this.svg.style.width = `${this.width * k}px`;
      this.svg.style.height = `${this.height * k}px`;
    }
    zoom(by, event) {
      const box = this.element.getBoundingClientRect(), k = Math.min(Math.max(this.k * by, this.least), 8);
      const x = event ? event.clientX - box.left : box.width / 2, y = event ? event.clientY - box.top : box.height / 2;
      const [dx, dy] = [x - (x - this.x) * k / this.k, y - (y - this.y) * k / this.k];
      this.scale(k);
      this.move(dx, dy);
    }
    /** Show all of a drawing, in its middle. */
    fit() {
      const wide = this.wide - 24;
      if (!(wide > 0) || !this.width) return;
      const all = Math.min(1.2, wide / this.width, Math.max(700, innerHeight - 160) * 1.4 / this.height);
      const k = wide < 640 ? Math.max(all, 0.5) : all; // on a small screen labels that can be read come first
      this.least = Math.min(all, 1) * 0.7;
      const high = Math.min(Math.max(200, this.height * k + 32), 1100);
      this.element.style.height = `${high}px`;
      this.scale(k);
      this.move(Math.max(12, (this.wide - this.width * k) / 2), Math.max(12, (high - this.height * k) / 2));
      this.isFitted = true;
    }
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const by = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]}[event.key];
      if (by) this.move(this.x + by[0], this.y + by[1]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    }
    tools() {
      return [button("−", {"aria-label": "Zoom out", title: "Zoom out"}, () => this.zoom(0.8)), button("+", {"aria-label": "Zoom in", title: "Zoom in"}, () => this.zoom(1.25)), button("Fit", {title: "Show all"}, () => this.fit())];
    }
    fill(width, height, ...inside) {
      this.width = width; this.height = height;
      this.svg.setAttribute("viewBox", `0 0 ${Math.max(1, width)} ${Math.max(1, height)}`);
      refill(this.svg, ...inside);
      if (this.isFitted) this.fit(); else this.scale(this.k);
    }
  }

  const MOST_BOXES = 150, NEAREST = 120, BOX = 22;

  class Graph extends Section {
    constructor() {
      super("graph", "Graph");
      this.mode = view.count <= MOST_BOXES ? "Nodes" : "By function";
      this.viewport = new Viewport("Graph of the nodes", this);
      this.modes = choice("What the graph shows", ["Nodes", ...Object.keys(GROUPINGS)], this.mode, mode => { this.mode = mode; this.refit(); });
      this.tools.append(this.modes, ...this.viewport.tools());
      this.body.append(this.viewport.element, html("p", {class: "hint"}, "Drag to move it; Ctrl and wheel, or + and −, zoom; 0 shows all. A click on a node lights up what it is made from, on its left, and what is made from it, on its right."));
    }
    draw() {
      this.show(derived.count > 0);
      if (this.mode === "Nodes") this.drawNodes(); else this.drawGroups();
    }
    choose() {
      if (this.mode !== "Nodes") return this.drawGroups();
      if (derived.count > MOST_BOXES) return this.refit();
      this.light();
    }
    /** Draw something else, and show all of it. */
    refit() {
      this.viewport.isFitted = true;
      this.draw();
    }
    /** Return the number of the node under a point, or -1. */
    at(event, x, y) {
      const element = event.target.closest?.("[data-node]");
      if (element) return +element.dataset.node;
      if (this.mode === "Nodes") return -1;
      for (const {box, group, cell, columns} of this.boxes) {
        const column = Math.floor((x - box[0] - 12) / cell), row = Math.floor((y - box[1] - 46) / cell);
        if (column >= 0 && column < columns && row >= 0 && y < box[1] + box[3]) return group.members[row * columns + column] ?? -1;
      }
      return -1;
    }

    drawNodes() {
      const isWhole = derived.count <= MOST_BOXES, all = isWhole ? numbersWhere(() => true) : nearestRelativesOf(Math.max(0, chosen), NEAREST);
      this.note.textContent = isWhole ? many(all.length, "node") : `${count(derived.count)} nodes; here the ${all.length} nearest relatives of ${shortened(nodes.name[Math.max(0, chosen)], 60)}`;
      const index = new Map(all.map((i, k) => [i, k])), edges = [];
      all.forEach((i, k) => nodes.needs[i].forEach(p => { if (index.has(p)) edges.push([index.get(p), k]); }));
      const sizes = all.map(i => [Math.min(32, nodes.name[i].length) * 6.9 + 26, BOX]);
      const plan = layered(sizes, edges, 46, 6);
      const longest = nodes.seconds.reduce((most, s, i) => derived.makers.has(i) ? most : Math.max(most, s || 0), 0);
      this.edges = edges.map(([a, b]) => {
        const [from, to] = a < b ? [a, b] : [b, a];
        const path = svg("path", {class: "edge", d: curve(plan.x[from] + sizes[from][0], plan.y[from] + BOX / 2, plan.route(from, to), plan.x[to], plan.y[to] + BOX / 2)});
        return {path, from: all[a], to: all[b]};
      });
      this.labels = all.map((i, k) => {
        const [w, h] = sizes[k], x = plan.x[k], y = plan.y[k], s = nodes.seconds[i];
        const element = svg("g", {class: `node ${classOf(nodes.state[i])}`, transform: `translate(${x} ${y})`, "data-node": i, "data-key": `node ${i}`, tabindex: "0", role: "button", "aria-label": `${shortened(nodes.name[i], 200)}: ${nodes.state[i]}`,
          onkeydown: event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(i); } }},
        svg("rect", {class: "frame", width: w, height: h, rx: 5}), svg("path", {class: "side", d: `M5 0H6V${h}H5a5 5 0 0 1-5-5V5a5 5 0 0 1 5-5z`}),
        s && longest ? svg("rect", {class: "took", x: 8, y: h - 3.5, width: Math.max(1, (w - 12) * Math.sqrt(Math.min(1, s / longest))), height: 2}) : null,
        svg("text", {x: 13, y: 14.5}, fitted(nodes.name[i], w - 18)));
        return {element, number: i};
      });
      this.viewport.fill(plan.width, plan.height, svg("g", {class: "edges"}, this.edges.map(e => e.path)), svg("g", {}, this.labels.map(l => l.element)));
      this.light();
    }
    light() {
      const isWhole = derived.count <= MOST_BOXES;
      for (const {path, from, to} of this.edges) {
        const isLit = kin !== null && (isWhole ? kin.has(from) && kin.has(to) : from === chosen || to === chosen);
        path.classList.toggle("lit", isLit);
        path.classList.toggle("dim", kin !== null && isWhole && !isLit);
        if (isLit) path.parentNode.append(path);
      }
      for (const {element, number} of this.labels) {
        element.classList.toggle("chosen", number === chosen);
        element.classList.toggle("dim", kin !== null && !kin.has(number));
      }
    }

    drawGroups() {
      const groups = groupsBy(this.mode), of = new Int32Array(derived.count);
      this.note.textContent = `${many(derived.count, "node")} in ${many(groups.length, "group")}`;
      groups.forEach((g, k) => g.members.forEach(i => { of[i] = k; }));
      const between = new Map();
      nodes.needs.forEach((parents, i) => parents.forEach(p => { const key = of[p] * groups.length + of[i]; between.set(key, (between.get(key) || 0) + 1); }));
      const edges = [...between].map(([key, n]) => [Math.floor(key / groups.length), key % groups.length, n]);
      let shapes, plan;
      for (const ratio of [1.7, 6, 16]) { // wider boxes, if all of them are higher than wide
        shapes = groups.map(group => this.shape(group, ratio));
        plan = layered(shapes.map(s => s.size), edges, 52, 24);
        if (plan.width > plan.height) break;
      }
      this.boxes = shapes.map((s, k) => ({...s, box: [plan.x[k], plan.y[k], ...s.size]}));
      const placeOf = new Map();
      const drawn = this.boxes.map(({group, box, cell, columns}) => this.box(group, box, cell, columns, placeOf));
      const middle = k => this.boxes[k].box[1] + this.boxes[k].box[3] / 2, right = k => this.boxes[k].box[0] + this.boxes[k].box[2];
      const lines = edges.map(([a, b, n]) => {
        const isBack = a > b, low = Math.max(plan.y[a] + shapes[a].size[1], plan.y[b] + shapes[b].size[1]) + 40;
        const d = a === b ? `M${right(a) - 30} ${plan.y[a]}c0 -22 20 -22 20 0` : isBack
          ? `M${plan.x[a] + 40} ${plan.y[a] + shapes[a].size[1]}C${plan.x[a]} ${low} ${right(b)} ${low} ${right(b) - 40} ${plan.y[b] + shapes[b].size[1]}`
          : curve(right(a), middle(a), plan.route(a, b), plan.x[b], middle(b));
        return svg("path", {class: `edge${isBack ? " back" : ""}${kin ? " dim" : ""}`, "stroke-width": 1.2 + Math.log2(n) * 0.35, d});
      });
      const hasBack = edges.some(([a, b]) => a > b);
      this.viewport.fill(plan.width, plan.height + (hasBack ? 40 : 0), svg("g", {}, lines), svg("g", {}, drawn), kin ? this.links(placeOf) : null);
    }
    shape(group, ratio) {
      const n = group.members.length, cell = n <= 150 ? 10 : Math.max(4, Math.round(10 * Math.pow(150 / n, 0.22)));
      const columns = Math.min(n, Math.max(9, Math.round(Math.sqrt(n * ratio))));
      return {group, cell, columns, size: [Math.max(columns * cell + 24, 120), 46 + Math.ceil(n / columns) * cell + 12]};
    }
    box(group, [x, y, w, h], cell, columns, placeOf) {
      const paths = {}, side = cell - (cell > 5 ? 2 : 1);
      const seconds = total(group.members.map(i => derived.makers.has(i) ? 0 : nodes.seconds[i]));
      group.members.forEach((i, k) => {
        const cx = 12 + k % columns * cell, cy = 46 + Math.floor(k / columns) * cell;
        const key = `${classOf(nodes.state[i])}${kin && !kin.has(i) ? " dim" : ""}`;
        paths[key] = (paths[key] || "") + `M${cx} ${cy}h${side}v${side}h-${side}z`;
        if (kin?.has(i)) placeOf.set(i, [x + cx, y + cy, side]);
      });
      return svg("g", {class: "group", transform: `translate(${x} ${y})`}, svg("rect", {class: "frame", width: w, height: h, rx: 9}),
        svg("text", {class: "title", x: 12, y: 20}, fitted(group.title, w - 24)), svg("text", {class: "soft", x: 12, y: 36}, [count(group.members.length), duration(seconds || null)].filter(Boolean).join(" · ")),
        Object.entries(paths).map(([key, d]) => svg("path", {class: `squares ${key}`, d})));
    }
    /** Lines between the relatives of the chosen node. */
    links(placeOf) {
      const lines = [];
      for (const i of kin) for (const p of nodes.needs[i]) if (kin.has(p) && lines.length < 800) {
        const [x0, y0, s0] = placeOf.get(p), [x1, y1, s1] = placeOf.get(i);
        lines.push(curve(x0 + s0, y0 + s0 / 2, [], x1, y1 + s1 / 2));
      }
      const [x, y, s] = placeOf.get(chosen);
      return svg("g", {class: "links"}, svg("path", {class: "edge lit", d: lines.join("")}), svg("rect", {class: "around", x: x - 2, y: y - 2, width: s + 4, height: s + 4, rx: 2}));
    }
  }

  const tip = html("div", {class: "tip", hidden: true, "aria-hidden": "true"});
  function hint(event, i) {
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.replaceChildren(html("div", {dir: "auto"}, shortened(nodes.name[i], 300)), html("div", {}, [shortened(nodes.function[i], 80), nodes.state[i], duration(nodes.seconds[i])].filter(Boolean).join(" · ")));
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${event.clientY + box.height + 24 > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16}px`;
  }

  // == The timeline

  const MARGIN = 150, AXIS = 22, LOAD = 44;

  class Timeline extends Section {
    constructor() {
      super("timeline", "Timeline");
      this.colour = "By function";
      this.from = 0;
      this.to = null; // the end of the run, whenever that is
      this.svg = svg("svg", {class: "time", role: "img", "aria-label": "When nodes ran, by worker"});
      this.frame = html("div", {class: "viewport across", tabindex: "0", role: "region", "aria-label": "Timeline; arrow keys move it, plus and minus zoom"}, this.svg);
      this.colours = html("div", {class: "key"});
      this.tools.append(choice("Colours of the timeline", ["By function", "By state"], this.colour, colour => { this.colour = colour; this.draw(); }),
        button("−", {"aria-label": "Zoom the timeline out", title: "Zoom out"}, () => this.zoom(0.7)), button("+", {"aria-label": "Zoom the timeline in", title: "Zoom in"}, () => this.zoom(1.4)), button("Fit", {title: "Show all"}, () => this.fit()));
      this.body.append(this.frame, this.colours);
      this.listen(this.frame);
    }
    listen(e) {
      let grip = null;
      const timeAt = event => this.start + (event.clientX - e.getBoundingClientRect().left - this.margin) / this.scale;
      e.addEventListener("pointerdown", event => { if (event.button === 0) grip = {x: event.clientX, from: this.start, moved: false}; });
      e.addEventListener("pointermove", event => {
        if (!grip) return hint(event, this.at(event, timeAt(event)));
        if (!grip.moved && Math.abs(event.clientX - grip.x) < 4) return;
        if (!grip.moved) { grip.moved = true; e.setPointerCapture(event.pointerId); hint(null, -1); }
        this.move(grip.from - (event.clientX - grip.x) / this.scale);
      });
      e.addEventListener("pointerup", () => { this.dragged = Boolean(grip && grip.moved); grip = null; });
      e.addEventListener("pointercancel", () => { grip = null; });
      e.addEventListener("pointerleave", () => hint(null, -1));
      e.addEventListener("click", event => { if (!this.dragged) choose(this.at(event, timeAt(event))); this.dragged = false; });
      e.addEventListener("wheel", event => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); this.zoom(Math.exp(-event.deltaY / 240), timeAt(event)); } }, {passive: false});
      e.addEventListener("keydown", event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const span = this.end - this.start;
        if (event.key === "ArrowLeft") this.move(this.start - span / 10);
        else if (event.key === "ArrowRight") this.move(this.start + span / 10);
        else if (event.key === "+" || event.key === "=") this.zoom(1.4);
        else if (event.key === "-") this.zoom(0.7);
        else if (event.key === "0") this.fit();
        else return;
        event.preventDefault();
      });
      onResize(e, width => { if (width !== this.wide) { this.wide = width; this.later(); } });
    }
    get start() { return this.from; }
    get end() { return this.to === null ? Math.max(derived.last, 1e-6) : this.to; }
    move(from) {
      const span = this.end - this.start;
      this.from = Math.max(-span * 0.2, Math.min(from, derived.last - span * 0.2));
      this.to = this.from + span;
      this.later();
    }
    zoom(by, middle = (this.start + this.end) / 2) {
      const span = Math.min(Math.max((this.end - this.start) / by, 1e-5), derived.last * 1.2);
      const share = (middle - this.start) / (this.end - this.start);
      this.from = middle - span * share;
      this.to = this.from + span;
      this.move(this.from);
    }
    fit() { this.from = 0; this.to = null; this.later(); }
    later() {
      if (this.waits) return;
      this.waits = true;
      requestAnimationFrame(() => { this.waits = false; this.draw(); });
    }
    choose() { this.later(); }
    at(event, time) {
      const y = event.clientY - this.frame.getBoundingClientRect().top - AXIS - LOAD - 10;
      const lane = y < 0 ? null : derived.lanes[Math.floor(y / this.high)], reach = 2 / this.scale;
      if (!lane) return -1;
      return lane.of.findLast(i => nodes.started[i] <= time + reach && derived.ends[i] >= time - reach) ?? -1;
    }

    draw() {
      const {lanes} = derived, ran = total(lanes.map(l => l.of.length)), workers = new Set(lanes.map(l => l.worker)).size;
      this.show(lanes.length > 0);
      this.note.textContent = `${many(ran, "node")} on ${many(workers, "worker")}`;
      const width = this.wide;
      if (!lanes.length || !width) return;
      this.margin = width < 560 ? 70 : MARGIN;
      this.high = Math.max(3, Math.min(22, Math.floor(640 / lanes.length)));
      this.scale = (width - this.margin - 12) / (this.end - this.start);
      const height = AXIS + LOAD + 10 + lanes.length * this.high + 8;
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.svg.style.height = `${height}px`;
      const inside = svg("svg", {x: this.margin, width: width - this.margin, height, overflow: "hidden"}, this.ticks(height), this.gap(height), this.load(width - this.margin), this.bars(width - this.margin));
      this.svg.replaceChildren(inside, ...this.names());
      this.legend();
    }
    x(time) { return (time - this.start) * this.scale; }
    ticks(height) {
      const span = this.end - this.start, steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
      const least = span * 90 / (span * this.scale), power = Math.pow(10, Math.floor(Math.log10(least)));
      const step = least < 1 ? [1, 2, 5, 10].map(n => n * power).find(n => n >= least) : steps.find(n => n >= least) || Math.ceil(least / 86400) * 86400;
      const marks = [];
      for (let n = Math.ceil(this.start / step - 1e-9); n * step <= this.end; n++) {
        const x = this.x(n * step);
        marks.push(svg("path", {class: "tick", d: `M${x} ${AXIS}V${height}`}), svg("text", {class: "soft", x: x + 3, y: 14}, n ? duration(Math.abs(n * step)) : "0"));
      }
      return svg("g", {}, marks);
    }
    /** The time before the first node, in which nothing ran. */
    gap(height) {
      if (!isFinite(derived.first) || derived.first <= 0) return null;
      const x = this.x(0), width = this.x(derived.first) - x;
      if (width < 3) return null;
      return svg("g", {class: "pause"}, svg("rect", {x, y: AXIS, width, height: height - AXIS}, svg("title", {}, GAP)), width > 190 ? svg("text", {class: "soft", x: x + 8, y: AXIS + 18}, GAP) : null);
    }
    load(width) {
      const most = derived.load.reduce((m, [, n]) => Math.max(m, n), 1), base = AXIS + LOAD, high = LOAD - 8;
      const peaks = new Float64Array(Math.ceil(width) + 1);
      let before = 0, x0 = 0;
      for (const [at, n] of [...derived.load, [Infinity, 0]]) {
        const x = Math.min(peaks.length - 1, Math.floor(this.x(at)));
        for (let k = Math.max(0, x0); k <= x; k++) peaks[k] = Math.max(peaks[k], before);
        before = n; x0 = Math.max(0, x);
        if (x >= peaks.length - 1) break;
      }
      let d = `M0 ${base}`;
      peaks.forEach((n, k) => { if (k === 0 || n !== peaks[k - 1]) d += `H${k}V${(base - n / most * high).toFixed(1)}`; });
      return svg("path", {class: "load", d: `${d}H${peaks.length}V${base}z`});
    }
    colourOf(i) {
      if (this.colour === "By state") return classOf(nodes.state[i]);
      return nodes.state[i] === "failed" ? "failed" : `f${derived.order.get(nodes.function[i]) % 10}`;
    }
    bars(width) {
      const paths = {}, labels = [], high = this.high - (this.high > 8 ? 3 : this.high > 4 ? 1 : 0.5);
      derived.lanes.forEach((lane, n) => {
        const y = AXIS + LOAD + 10 + n * this.high, reached = {};
        for (const i of lane.of) {
          const x = this.x(nodes.started[i]), end = this.x(derived.ends[i]), w = Math.max(0.8, end - x - 0.4);
          if (x > width || end < -1) continue;
          const colour = derived.makers.has(i) ? `${this.colourOf(i)} maker` : this.colourOf(i);
          if (x + w < (reached[colour] ?? -1) + 0.35) continue;
          reached[colour] = x + w;
          paths[colour] = (paths[colour] || "") + `M${x.toFixed(2)} ${y}h${w.toFixed(2)}v${high}h-${w.toFixed(2)}z`;
          if (this.high >= 14 && w > 50 && labels.length < 300) {
            const left = Math.max(0, x), room = Math.min(x + w, width) - left - 10;
            if (room > 40) labels.push(svg("text", {class: derived.makers.has(i) ? "bar over" : "bar", x: left + 5, y: y + high / 2 + 4}, fitted(nodes.name[i], room)));
          }
        }
      });
      const around = chosen >= 0 && nodes.started[chosen] !== null ? this.around(high) : null;
      return svg("g", {}, Object.entries(paths).map(([colour, d]) => svg("path", {class: colour, d})), labels, around);
    }
    around(high) {
      const n = derived.lanes.findIndex(lane => lane.of.includes(chosen));
      const x = this.x(nodes.started[chosen]);
      return svg("rect", {class: "around", x: x - 1.5, y: AXIS + LOAD + 10 + n * this.high - 1.5, width: Math.max(1, this.x(derived.ends[chosen]) - x) + 3, height: high + 3, rx: 2});
    }
    names() {
      const most = derived.load.reduce((m, [, n]) => Math.max(m, n), 0), end = {class: "soft", "text-anchor": "end", x: this.margin - 10};
      const texts = [svg("text", {...end, y: AXIS + LOAD - 16}, `${count(most)} at once`)];
      let last = -20;
      derived.lanes.forEach((lane, n) => {
        const y = AXIS + LOAD + 10 + n * this.high + this.high / 2 + 3;
        if (lane.isFirst && y - last >= 12) { texts.push(svg("text", {...end, y}, svg("title", {}, lane.worker), fitted(lane.worker, this.margin - 14))); last = y; }
      });
      return texts;
    }
    legend() {
      const there = new Set(derived.lanes.flatMap(l => l.of.map(i => this.colour === "By state" ? nodes.state[i] : nodes.function[i])));
      const all = this.colour === "By state" ? STATES.filter(s => there.has(s)).map(s => [classOf(s), s]) : [...derived.order].filter(([f]) => there.has(f)).map(([f, n]) => [`f${n % 10}`, f]);
      const swatch = name => svg("svg", {class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true"}, svg("rect", {class: name, width: 10, height: 10, rx: 2.5}));
      const items = all.slice(0, 10).map(([name, text]) => html("span", {}, swatch(name), named(text, 50)));
      if (all.length > 10) items.push(html("span", {}, `and ${count(all.length - 10)} more functions`));
      if (this.colour === "By function" && derived.lanes.some(l => l.of.some(i => nodes.state[i] === "failed"))) items.push(html("span", {}, swatch("failed"), "failed"));
      if (derived.first > 0) items.push(html("span", {}, swatch("pause"), GAP));
      refill(this.colours, items);
    }
  }

  // == Functions

  class Functions extends Section {
    constructor() {
      super("functions", "Functions");
      this.grouping = "By function";
      this.tools.append(choice("Groups of the table", Object.keys(GROUPINGS), this.grouping, grouping => { this.grouping = grouping; this.draw(); }));
    }
    draw() {
      this.show(derived.count > 0);
      const there = values => values.filter(v => v !== null);
      const groups = groupsBy(this.grouping).map(({title, members}) => {
        const own = members.filter(i => !derived.makers.has(i)), times = there(own.map(i => nodes.seconds[i])), memory = there(members.map(i => nodes.memory[i]));
        const counts = {};
        for (const i of members) counts[nodes.state[i]] = (counts[nodes.state[i]] || 0) + 1;
        return {title, members, counts, times, memory, work: total(times)};
      }).sort((a, b) => b.work - a.work);
      this.note.textContent = "most work first";
      const most = (values, name) => values.reduce((m, g) => g[name].reduce((n, v) => Math.max(n, v), m), 0);
      const longest = most(groups, "times"), largest = most(groups, "memory");
      const median = values => values.length ? Float64Array.from(values).sort()[values.length >> 1] : null;
      const head = [{title: this.grouping === "By function" ? "function" : "prefix", name: true}, {title: "nodes", number: true}, {title: "states"}, {title: "work", number: true}, {title: "median", number: true}, {title: "time (√ scale)"}, {title: "most memory", number: true}, {title: "memory (√ scale)"}];
      refill(this.body, table(head, groups.map(g => [html("span", {class: "mono"}, named(g.title, 60)), count(g.members.length), strip(g.counts, "mini"), duration(g.work || null), duration(median(g.times)),
        boxPlot(g.times, longest, duration), g.memory.length ? bytes(g.memory.reduce((m, v) => Math.max(m, v), 0)) : "", boxPlot(g.memory, largest, bytes)]), {label: "functions"}));
    }
  }

  // == The table of nodes

  const ROW = 30, PRINTED = 300;
  const FIELDS = [
    {title: "state", value: i => STATES.indexOf(nodes.state[i]), cell: i => [mark(nodes.state[i]), " ", nodes.state[i]]},
    {title: "name", value: i => nodes.name[i], cell: i => button(shortened(nodes.name[i], 200), {class: "link", "data-row": i, title: shortened(nodes.name[i], 600)}, () => choose(i))},
    {title: "function", value: i => nodes.function[i], cell: i => named(nodes.function[i], 200)},
    {title: "why", value: i => nodes.reason[i], cell: i => named(nodes.reason[i], 200)},
    {title: "started", number: true, value: i => nodes.started[i], cell: i => duration(nodes.started[i])},
    {title: "took", number: true, value: i => nodes.seconds[i], cell: i => duration(nodes.seconds[i])},
    {title: "before", number: true, value: i => nodes.before[i], cell: i => duration(nodes.before[i])},
    {title: "memory", number: true, value: i => nodes.memory[i], cell: i => bytes(nodes.memory[i])},
    {title: "size", number: true, value: i => nodes.size[i], cell: i => bytes(nodes.size[i])},
    {title: "worker", value: i => nodes.worker[i], cell: i => named(nodes.worker[i], 60)},
  ];

  class Nodes extends Section {
    constructor() {
      super("nodes", "Nodes");
      this.sorting = {field: null, down: false};
      this.top = 0; // where the table is scrolled to
      this.high = 500; // of what is seen of it
      this.search = html("input", {type: "search", placeholder: "Filter by name, function or reason", "aria-label": "Filter the nodes by text", size: "30", oninput: () => this.select()});
      this.states = html("select", {"aria-label": "Filter the nodes by state", onchange: () => this.select()});
      this.tools.append(this.search, this.states);
      this.headers = FIELDS.map(field => html("th", {scope: "col", class: field.number ? "number" : null}, html("button", {type: "button", onclick: () => this.sort(field)}, field.title, html("span", {class: "arrow", "aria-hidden": "true"}))));
      this.rows = html("tbody");
      this.table = html("table", {"aria-label": "Nodes"}, html("colgroup", {}, FIELDS.map(f => html("col", {class: f.title}))), html("thead", {}, html("tr", {}, this.headers)), this.rows);
      this.grid = html("div", {class: "grid", tabindex: "0", role: "region", "aria-label": "Nodes; arrow keys move from row to row, Enter opens one", onscroll: () => { this.top = this.grid.scrollTop; this.later(); }, onkeydown: event => this.key(event)}, this.table);
      this.more = html("p", {class: "hint printed", hidden: true});
      this.body.append(this.grid, this.more);
      onResize(this.grid, (width, height) => { if (height !== this.high) { this.high = height; this.later(); } });
    }
    draw() {
      const chosenState = this.states.value, there = STATES.filter(s => derived.counts[s]), options = ["", ...there];
      if (options.join() !== [...this.states.options].map(o => o.value).join()) {
        this.states.replaceChildren(...options.map(s => html("option", {value: s}, s || "all states")));
        this.states.value = there.includes(chosenState) ? chosenState : "";
      }
      this.select();
    }
    /** Show only the nodes of a state. */
    only(state) {
      this.search.value = "";
      this.states.value = state;
      this.select();
      this.element.scrollIntoView();
      this.states.focus({preventScroll: true});
    }
    sort(field) {
      const {sorting} = this, isSame = sorting.field === field;
      this.sorting = isSame && sorting.down !== Boolean(field.number) ? {field: null, down: false} : {field, down: isSame ? !sorting.down : Boolean(field.number)};
      this.headers.forEach((header, k) => {
        if (FIELDS[k] === this.sorting.field) header.setAttribute("aria-sort", this.sorting.down ? "descending" : "ascending"); else header.removeAttribute("aria-sort");
      });
      this.select();
    }
    select() {
      const text = this.search.value.toLowerCase(), state = this.states.value, has = column => i => column[i].toLowerCase().includes(text);
      const tests = [nodes.name, nodes.function, nodes.reason].map(has);
      this.shown = numbersWhere(i => (!state || nodes.state[i] === state) && (!text || tests.some(test => test(i))));
      const {field, down} = this.sorting;
      if (field) {
        const sign = down ? -1 : 1, values = new Map(this.shown.map(i => [i, field.value(i)]));
        const compare = new Intl.Collator("en", {numeric: true}).compare;
        this.shown.sort((a, b) => {
          const x = values.get(a), y = values.get(b);
          if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
          return sign * (typeof x === "string" ? compare(x, y) : x - y);
        });
      }
      this.note.textContent = this.shown.length === derived.count ? count(derived.count) : `${count(this.shown.length)} of ${count(derived.count)}`;
      this.table.setAttribute("aria-rowcount", this.shown.length + 1);
      this.fill();
    }
    choose() { this.fill(); }
    later() {
      if (this.waits) return;
      this.waits = true;
      requestAnimationFrame(() => { this.waits = false; this.fill(); });
    }
    /** Make the rows that are in sight, between two rows as high as all others; printed are the first ones. */
    fill() {
      const most = this.shown.length, printed = isPrinting();
      const first = printed ? 0 : Math.max(0, Math.min(Math.floor(this.top / ROW) - 8, most - 1));
      const last = printed ? Math.min(most, PRINTED) : Math.min(most, Math.ceil((this.top + this.high) / ROW) + 8);
      const focused = document.activeElement?.dataset.row;
      const space = n => n > 0 ? html("tr", {"aria-hidden": "true", class: "space"}, (() => { const cell = html("td", {colspan: FIELDS.length}); cell.style.height = `${n * ROW}px`; return cell; })()) : "";
      const rows = this.shown.slice(first, last).map((i, k) => html("tr", {"aria-rowindex": first + k + 2, class: i === chosen ? "chosen" : null, onclick: event => { if (!event.target.closest("button")) choose(i); }}, FIELDS.map(f => html("td", {class: f.number ? "number" : null}, f.cell(i)))));
      this.rows.replaceChildren(...[printed ? "" : space(first), ...rows, printed ? "" : space(most - last)].filter(Boolean));
      this.more.hidden = !(printed && most > PRINTED);
      this.more.textContent = `The first ${PRINTED} of ${count(most)} nodes.`;
      if (focused !== undefined) this.rows.querySelector(`[data-row="${focused}"]`)?.focus({preventScroll: true});
    }
    key(event) {
      const at = document.activeElement?.dataset.row, now = at === undefined ? -1 : this.shown.indexOf(+at), page = Math.floor(this.grid.clientHeight / ROW) - 2, last = this.shown.length - 1;
      const next = {ArrowDown: now + 1, ArrowUp: now - 1, PageDown: now + page, PageUp: now - page, Home: 0, End: last}[event.key];
      if (next === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const k = Math.max(0, Math.min(next, last)), top = k * ROW, high = this.grid.clientHeight - ROW;
      if (top < this.grid.scrollTop) this.grid.scrollTop = top;
      else if (top + ROW > this.grid.scrollTop + high) this.grid.scrollTop = top + ROW - high;
      this.top = this.grid.scrollTop;
      this.fill();
      this.rows.querySelector(`[data-row="${this.shown[k]}"]`).focus({preventScroll: true});
    }
  }

  class Environment extends Section {
    constructor() { super("environment", "Environment"); }
    draw() {
      this.show(view.environment.length > 0);
      refill(this.body, html("dl", {class: "facts"}, view.environment.map(([name, text]) => [html("dt", {}, name), html("dd", {}, text)])));
    }
  }

  // == The chosen node

  let chosen = -1, kin = null, origin = null;
  const drawer = html("aside", {class: "drawer", hidden: true, "aria-label": "The chosen node"});

  function choose(i) {
    if (i < 0 && chosen < 0) return;
    if (chosen < 0) origin = document.activeElement;
    chosen = i;
    kin = i < 0 ? null : relativesOf(i);
    for (const section of Object.values(sections)) section.choose();
    drawDrawer();
    document.body.classList.toggle("beside", i >= 0);
    hint(null, -1);
    if (i >= 0) drawer.querySelector(".close").focus({preventScroll: true});
    else focusOn(origin);
  }

  /** Focus an element, or the one that was made in its stead. */
  function focusOn(element) {
    const {key, row} = element.dataset, find = (name, value) => document.querySelector(`[data-${name}="${CSS.escape(value)}"]`);
    const now = element.isConnected ? element : row !== undefined ? find("row", row) : key !== undefined ? find("key", key) : null;
    now?.focus({preventScroll: true});
  }

  function drawDrawer() {
    drawer.hidden = chosen < 0;
    if (chosen < 0) return;
    const i = chosen, state = nodes.state[i], facts = [
      ["state", [mark(state), " ", state]], ["function", nodes.function[i]], ["why", nodes.reason[i]], ["started", nodes.started[i] !== null && `after ${duration(nodes.started[i]) || "0 s"}`],
      ["took", duration(nodes.seconds[i])], ["took before", duration(nodes.before[i])], ["processor time", duration(nodes.cpu[i])], ["memory", bytes(nodes.memory[i])],
      ["size of result", bytes(nodes.size[i])], ["worker", nodes.worker[i]], ["attempts", nodes.attempts[i] > 1 && String(nodes.attempts[i])],
    ].filter(([, value]) => value);
    const capsule = view.capsules[i];
    const p = nodes.preview[i];
    refill(drawer,
      button("Close", {class: "close", "data-key": "close"}, () => choose(-1)), html("h2", {dir: "auto", tabindex: "0"}, nodes.name[i]),
      html("dl", {class: "facts"}, facts.map(([name, value]) => [html("dt", {}, name), html("dd", {}, value)])),
      nodes.error[i] ? html("h3", {}, "Failure") : "", nodes.error[i] ? html("pre", {tabindex: "0"}, nodes.error[i]) : "",
      capsule ? html("p", {}, html("a", {href: capsule, download: true, "data-key": "capsule"}, "Download the capsule"), " to run this call again") : "",
      p ? [html("h3", {}, "Result"), html("div", {class: "label"}, [p.type, p.shape].filter(Boolean).join(" · ")), ...preview(i)] : [],
      nodes.arguments[i].length ? [html("h3", {}, "Arguments"), html("dl", {class: "facts"}, nodes.arguments[i].map(([name, text]) => [html("dt", {class: "mono"}, named(name)), html("dd", {class: "mono"}, text)]))] : [],
      nodes.output[i] ? [html("h3", {}, "Captured output"), html("pre", {tabindex: "0"}, nodes.output[i])] : [],
      linksTo("Made from", nodes.needs[i]), linksTo("Goes into", derived.children[i]));
  }

  function linksTo(title, numbers) {
    if (!numbers.length) return [];
    const shown = numbers.slice(0, 30).map(j => html("li", {}, mark(nodes.state[j]), " ", button(shortened(nodes.name[j], 80), {class: "link", title: shortened(nodes.name[j], 600), "data-key": `${title} ${j}`}, () => choose(j))));
    return [html("h3", {}, `${title} (${count(numbers.length)})`), html("ul", {class: "links"}, shown, numbers.length > 30 ? html("li", {class: "soft"}, `and ${count(numbers.length - 30)} more`) : "")];
  }

  // == The page

  const sections = {
    overview: new Overview(), failures: new Failures(), results: new Results(), changes: new Changes(), graph: new Graph(), timeline: new Timeline(), functions: new Functions(), nodes: new Nodes(), environment: new Environment(),
  };
  const badge = html("span", {class: "badge"}), facts = html("p", {class: "about"}), title = html("h1", {dir: "auto"}), live = html("span", {class: "live", role: "status"});
  const theme = button("", {class: "theme"}, () => setTheme(!isDark()));

  function drawHead() {
    const {run} = view;
    title.textContent = run.workflow;
    badge.className = `badge ${run.state}`;
    badge.textContent = run.state;
    document.title = `${run.workflow}: ${run.state}`;
    facts.replaceChildren(html("span", {}, "run ", html("code", {}, shortened(run.id, 80))), html("span", {}, moment(run.started)), html("span", {}, run.state === "running" ? `${duration(run.seconds)} so far` : `took ${duration(run.seconds)}`), html("span", {}, run.engine),
      ...run.labels.map(([name, text]) => html("span", {class: "label tag"}, shortened(text ? `${name}=${text}` : name, 60))));
  }

  function drawAll() {
    derive();
    drawHead();
    for (const section of Object.values(sections)) section.draw();
    drawDrawer();
  }

  /** Take in what changed; changes.py says how a message looks. */
  function update(changes) {
    for (const part of ["run", "begins", "environment", "wanted", "capsules"]) if (part in changes) view[part] = changes[part];
    if ("count" in changes)
      for (const [name, column] of Object.entries(nodes)) {
        column.length = changes.count;
        for (const [i, value] of Object.entries(changes.nodes[name] || {})) column[i] = value;
      }
    if (chosen >= nodes.name.length) choose(-1);
    if (chosen >= 0) { derive(); kin = relativesOf(chosen); }
    drawAll();
  }

  function follow(address) {
    const source = new EventSource(address);
    source.onopen = () => { live.textContent = "live"; };
    source.onmessage = event => { update(JSON.parse(event.data)); if (view.run.state !== "running") { source.close(); live.textContent = ""; } };
    source.onerror = () => { live.textContent = source.readyState === EventSource.CLOSED ? "connection lost" : "connecting again"; };
  }

  const prefersDark = matchMedia("(prefers-color-scheme: dark)"), printing = matchMedia("print");
  const root = document.documentElement;
  const isDark = () => root.style.colorScheme ? root.style.colorScheme === "dark" : prefersDark.matches;
  const isPrinting = () => printing.matches;
  function setTheme(dark) { root.style.colorScheme = dark ? "dark" : "light"; nameTheme(); }
  function nameTheme() { theme.textContent = isDark() ? "Light" : "Dark"; }

  const brand = [svg("svg", {viewBox: "0 0 24 24", class: "brand", "aria-hidden": "true"}, svg("path", {d: "M5 6h4l5 6h5M5 18h4l5-6"}), svg("circle", {cx: 5, cy: 6, r: 3, class: "finished"}), svg("circle", {cx: 5, cy: 18, r: 3, class: "reused"}), svg("circle", {cx: 19, cy: 12, r: 3.4, class: "running"})), "Function Fuse"];
  const home = view.home ? html("a", {href: view.home, class: "home"}, brand) : html("span", {class: "home"}, brand);
  const main = document.getElementById("report");
  main.replaceChildren(html("header", {}, html("div", {class: "title"}, title, badge, live), facts), ...Object.values(sections).map(s => s.element));
  main.before(html("nav", {"aria-label": "Sections"}, html("div", {class: "bar"}, home, html("div", {class: "sections"}, Object.values(sections).slice(1).map(s => s.link)), theme)));
  main.after(drawer, tip);
  document.body.append(html("footer", {}, view.live ? "" : "Written by Function Fuse. This file loads nothing from elsewhere."));

  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && chosen >= 0) choose(-1);
    if (event.key === "/" && !event.target.closest("input, select, textarea")) { event.preventDefault(); sections.nodes.search.focus(); }
  });
  prefersDark.addEventListener("change", nameTheme);
  printing.addEventListener("change", () => { sections.nodes.fill(); });
  nameTheme();
  drawAll();
  if (view.live) follow(view.live);
})();

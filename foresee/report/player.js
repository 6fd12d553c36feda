// The player: which clip, which time, which view. `player.py` wraps it and its parts into one function.
const KEYS = [
  ["Space", "play, pause"],
  ["← →", "one frame back, on (with Shift: one second)"],
  ["Home End", "start, end"],
  ["[ ]", "slower, faster"],
  ["+ −", "zoom (also: Ctrl and wheel, two fingers)"],
  ["f", "follow the ego, or show the whole road"],
  ["d", "next driver of this scenario"],
  ["m", "next mode of this scenario"],
  ["n p", "next, previous clip"],
  ["b", "beliefs"],
  ["a", "what was foretold (ahead)"],
  ["t", "trails"],
  ["e", "recorded path"],
  ["o", "other drivers of this scenario"],
  ["?", "this list"],
];

class Player {
  constructor(root, number) {
    const { roads, clips } = JSON.parse(root.querySelector("script").textContent);
    Object.assign(this, { root, number, clips, time: 0, playing: false, others: [] });
    this.show = { beliefs: true, foretold: true, trails: true, expert: true, others: false };
    this.roads = roads.map(unpackRoad);
    this.unpacked = new Map();
    this.build();
    this.colours = palette(root);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours = palette(root);
      this.resize();
    });
    window.addEventListener("hashchange", () => this.goToAddress());
    root.addEventListener("keydown", (event) => this.key(event));
  }

  build() {
    const choose = (index) => this.choose(index);
    this.list = new ClipList(this.clips, choose);
    this.rivals = new Rivals(this.clips, choose);
    this.bar = new TimeBar(this);
    this.curves = new Curves(this);
    this.canvas = make("canvas", { tabindex: 0, role: "img" });
    this.stage = new Stage(this.canvas, () => this.draw());
    this.title = make("p", { class: "replay-title" });
    this.event = make("p", { class: "replay-event", hidden: true });
    this.legend = make("ul", { class: "replay-legend", "aria-label": "Legend" });
    this.spoken = make("p", { class: "replay-spoken", "aria-live": "polite" });
    this.help = this.buildHelp();
    const help = button("Keys (?)", "?", () => this.help.showModal(), { class: "replay-help" });
    const picture = box("replay-stage", this.canvas, this.event, this.buildTools());
    const foot = box("replay-foot", this.legend, help);
    const parts = [this.title, this.rivals.element, picture, this.bar.element, this.curves.element, foot];
    const body = box("replay-body", this.list.element, box("replay-main", ...parts));
    this.root.querySelector("script").after(body, this.spoken, this.help);
  }

  buildTools() {
    this.follow = button("Follow the ego (f)", "Follow ego", () => this.lookAt("follow"));
    this.whole = button("Show the whole road (f)", "Whole road", () => this.lookAt("road"));
    const larger = button("Zoom in (+)", icon("plus"), () => this.stage.zoom(1.35));
    const smaller = button("Zoom out (−)", icon("minus"), () => this.stage.zoom(1 / 1.35));
    return box(
      "replay-tools",
      box("replay-group", this.follow, this.whole),
      box("replay-group", larger, smaller),
    );
  }

  buildHelp() {
    const rows = KEYS.flatMap(([keys, words]) => [
      make("dt", {}, ...keys.split(" ").map((key) => make("kbd", {}, key))),
      make("dd", {}, words),
    ]);
    const close = make("button", { type: "button", click: () => this.help.close() }, "Close");
    const title = make("p", {}, "Keys, once the player has the focus");
    return make(
      "dialog",
      { class: "replay-keys", "aria-label": "Keys" },
      title,
      make("dl", {}, ...rows),
      close,
    );
  }

  // --- which clip ---

  load(index) {
    if (!this.unpacked.has(index)) this.unpacked.set(index, unpackClip(this.clips[index], this.roads));
    return this.unpacked.get(index);
  }

  // Show another clip: at the same time if it is the same scenario, or else from its start.
  async choose(index, time = null) {
    this.wanted = index;
    const clip = await this.load(index);
    if (this.wanted !== index) return; // another one was chosen meanwhile
    const same = this.clip && this.clip.scenario === clip.scenario;
    if (!same) this.stage.leave();
    Object.assign(this, { index, clip, others: [], end: (clip.frames - 1) * clip.dt });
    this.time = clamp(time ?? (same ? this.time : 0), 0, this.end);
    const outcome = make("span", { class: clip.failed ? "failed" : "passed" }, badge(clip), clip.outcome);
    this.title.replaceChildren(make("strong", {}, clip.scenario), outcome);
    this.canvas.setAttribute("aria-label", `The road from above: ${this.words()}`);
    this.list.fill(index);
    this.rivals.fill(index);
    this.bar.fill();
    this.curves.fill();
    this.fillLegend();
    this.resize();
    this.say();
    await this.fetchOthers();
  }

  words() {
    const { scenario, driver, mode, outcome } = this.clip;
    return `${scenario}, driven by ${driver}, ${mode}: ${outcome}`;
  }

  async fetchOthers() {
    const { index } = this;
    const wanted = this.show.others ? this.rivals.others() : [];
    const others = await Promise.all(wanted.map((k) => this.load(k)));
    if (this.index !== index) return;
    this.others = others;
    this.draw();
  }

  fillLegend() {
    const { clip, show } = this;
    const entry = (kind, words) => make("li", {}, make("i", { class: kind }), words);
    const toggle = (name, kind, words, key) =>
      make(
        "li",
        {},
        make(
          "button",
          {
            type: "button",
            "aria-pressed": String(show[name]),
            title: `Show or hide (${key})`,
            "data-show": name,
            click: () => this.flip(name),
          },
          make("i", { class: kind }),
          words,
        ),
      );
    this.legend.replaceChildren(
      ...[
        entry("box ego", "ego"),
        clip.contact && entry("box hit", "touched"),
        entry("box other", "others"),
        clip.expert && toggle("expert", "line expert", "recorded path", "e"),
        clip.beliefs && toggle("beliefs", "blob belief", "beliefs, 90 %", "b"),
        clip.foretold && toggle("foretold", "line foretold", this.ahead(), "a"),
        toggle("trails", "line ego", "trails", "t"),
        this.rivals.others().length > 0 && toggle("others", "box outline", "other drivers", "o"),
      ].filter(Boolean),
    );
  }

  ahead() {
    const { times } = this.clip.foretold;
    return `futures foretold, 90 % at ${times.map((time) => Number(time.toFixed(1))).join(", ")} s`;
  }

  flip(name) {
    this.show[name] = !this.show[name];
    const control = this.legend.querySelector(`[data-show="${name}"]`);
    if (control) control.setAttribute("aria-pressed", String(this.show[name]));
    if (name === "others") this.fetchOthers();
    else this.draw();
  }

  // --- which time ---

  toggle() {
    this.playing = !this.playing;
    if (this.playing && this.time >= this.end - 1e-6) this.time = 0;
    this.bar.showPlaying(this.playing);
    this.before = null;
    if (this.playing) requestAnimationFrame((now) => this.tick(now));
    else this.say();
  }

  tick(now) {
    if (!this.playing) return;
    this.time = Math.min(this.time + (this.bar.speed * (now - (this.before ?? now))) / 1000, this.end);
    this.before = now;
    this.draw();
    if (this.time >= this.end) this.toggle();
    else requestAnimationFrame((next) => this.tick(next));
  }

  seek(time) {
    this.time = clamp(time, 0, this.end);
    this.draw();
    if (!this.playing) this.remember();
  }

  step(frames) {
    if (this.playing) this.toggle();
    this.seek((Math.round(this.time / this.clip.dt) + frames) * this.clip.dt);
  }

  say() {
    this.spoken.textContent = `${this.words()}. ${seconds(this.time)} of ${seconds(this.end)} seconds.`;
    this.remember();
  }

  // --- the address of a moment ---

  remember() {
    if (!this.settled) return; // nothing was done by hand yet
    const parts = [`clip=${this.index + 1}`, `t=${Number(this.time.toFixed(2))}`];
    if (this.stage.mode === "road") parts.push("view=road");
    if (this.number > 1) parts.push(`player=${this.number}`);
    try {
      history.replaceState(null, "", `#${parts.join("&")}`);
    } catch {
      /* some viewers of files forbid it */
    }
  }

  async goToAddress() {
    const wish = new URLSearchParams(location.hash.slice(1));
    if (!wish.has("clip") || Number(wish.get("player") || 1) !== this.number) return false;
    if (wish.has("view")) this.lookAt(wish.get("view") === "road" ? "road" : "follow");
    const index = clamp(Math.round(Number(wish.get("clip"))) || 1, 1, this.clips.length) - 1;
    await this.choose(index, Number(wish.get("t")) || 0);
    this.root.scrollIntoView();
    this.canvas.focus({ preventScroll: true });
    return true;
  }

  async start() {
    if (!(await this.goToAddress())) await this.choose(this.list.first());
    this.settled = true;
  }

  // --- drawing ---

  lookAt(mode) {
    this.stage.mode = mode;
    if (mode === "follow") this.stage.zoomed = 1;
    this.draw();
    if (!this.playing) this.remember();
  }

  resize() {
    if (!this.clip) return;
    this.curves.resize();
    this.bar.spread();
    this.draw();
  }

  draw() {
    const { clip, time } = this;
    if (!clip) return;
    const frame = clamp(Math.floor(time / clip.dt + 1e-6), 0, clip.frames - 1);
    this.stage.draw(this);
    this.curves.draw(frame);
    this.bar.draw(frame);
    this.follow.setAttribute("aria-pressed", String(this.stage.mode === "follow"));
    this.whole.setAttribute("aria-pressed", String(this.stage.mode === "road"));
    const recent = clip.events.filter(([at]) => at <= time + 1e-6 && time - at < 1.5).pop();
    this.event.hidden = !recent;
    if (recent) this.event.textContent = recent[1];
    Object.assign(this.root.dataset, { clip: this.index + 1, frame, time: time.toFixed(2) });
  }

  // --- keys ---

  key(event) {
    const { target, key } = event;
    if (!this.clip || this.help.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.tagName === "SELECT") return;
    if (key === " " && target.matches("button, summary, [type=checkbox]")) return; // it presses them
    if (target === this.bar.slider && /^(Arrow|Page|Home|End)/.test(key) && !event.shiftKey) return;
    const second = Math.max(Math.round(1 / this.clip.dt), 1);
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(event.shiftKey ? -second : -1),
      ArrowRight: () => this.step(event.shiftKey ? second : 1),
      Home: () => this.seek(0),
      End: () => this.seek(this.end),
      "[": () => this.bar.faster(-1),
      "]": () => this.bar.faster(1),
      "+": () => this.stage.zoom(1.35),
      "=": () => this.stage.zoom(1.35),
      "-": () => this.stage.zoom(1 / 1.35),
      f: () => this.lookAt(this.stage.mode === "follow" ? "road" : "follow"),
      b: () => this.flip("beliefs"),
      a: () => this.flip("foretold"),
      t: () => this.flip("trails"),
      e: () => this.flip("expert"),
      o: () => this.flip("others"),
      d: () => this.rivals.next("driver"),
      m: () => this.rivals.next("mode"),
      n: () => this.list.step(1),
      p: () => this.list.step(-1),
      "?": () => this.help.showModal(),
    };
    if (!(key in actions)) return;
    event.preventDefault();
    actions[key]();
  }
}

document.querySelectorAll("figure.replay").forEach(async (root, k) => {
  try {
    await new Player(root, k + 1).start();
    root.dataset.ready = "";
  } catch (error) {
    root.prepend(make("p", {}, `The replay could not be shown: ${error.message}`));
    throw error;
  }
});

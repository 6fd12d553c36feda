// Which clip: the list of all of them with its filters, and the drivers and modes of one scenario.
class ClipList {
  constructor(clips, choose) {
    Object.assign(this, { clips, choose, current: null, failuresFirst: true });
    this.summary = make("summary");
    this.list = box("replay-list");
    this.drivers = this.filter("drivers", unique(clips.map((clip) => clip.driver)));
    this.modes = this.filter("modes", unique(clips.map((clip) => clip.mode)));
    const first = make("input", { type: "checkbox", checked: true });
    first.addEventListener("change", () => {
      this.failuresFirst = first.checked;
      this.fill(this.current);
    });
    const label = make("label", { hidden: !clips.some((clip) => clip.failed) }, first, "failures first");
    const filters = box("replay-filters", this.drivers, this.modes, label);
    const panel = box("replay-panel", filters, this.list);
    this.element = make("details", { class: "replay-picker" }, this.summary, panel);
    const wide = matchMedia("(min-width: 60rem)");
    const open = () => (this.element.open = wide.matches);
    wide.addEventListener("change", open);
    open();
  }

  filter(what, names) {
    const all = make("option", { value: "" }, `all ${what}`);
    const options = names.map((name) => make("option", { value: name }, name));
    const select = make(
      "select",
      { "aria-label": `Show ${what}`, hidden: names.length < 2 },
      all,
      ...options,
    );
    select.addEventListener("change", () => {
      this.fill(this.current);
      this.stay();
    });
    return select;
  }

  // The clips that the filters let through, by scenario.
  groups() {
    const driver = ({ clip }) => !this.drivers.value || clip.driver === this.drivers.value;
    const mode = ({ clip }) => !this.modes.value || clip.mode === this.modes.value;
    const all = this.clips.map((clip, index) => ({ clip, index })).filter((one) => driver(one) && mode(one));
    const scenarios = unique(all.map(({ clip }) => clip.scenario));
    const groups = scenarios.map((name) => all.filter(({ clip }) => clip.scenario === name));
    if (!this.failuresFirst) return groups;
    const failures = (group) => group.filter(({ clip }) => clip.failed).length;
    for (const group of groups) group.sort((a, b) => b.clip.failed - a.clip.failed || a.index - b.index);
    return groups.sort((a, b) => failures(b) - failures(a));
  }

  // Show the list with this clip marked.
  fill(current) {
    this.current = current;
    const groups = this.groups();
    const shown = groups.flat();
    const failed = shown.filter(({ clip }) => clip.failed).length;
    this.summary.textContent = `${shown.length} clip${shown.length === 1 ? "" : "s"}, ${failed} failed`;
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...groups.map((group) => this.section(group)));
    if (!groups.length) this.list.append(make("p", {}, "No clip of this driver in this mode."));
    const marked = this.list.querySelector("[aria-current]");
    if (!marked) return;
    if (focused) marked.focus({ preventScroll: true });
    const [outer, inner] = [this.list.getBoundingClientRect(), marked.getBoundingClientRect()];
    if (inner.top < outer.top + 30) this.list.scrollTop += inner.top - outer.top - 30;
    else if (inner.bottom > outer.bottom) this.list.scrollTop += inner.bottom - outer.bottom + 8;
  }

  section(group) {
    const name = group[0].clip.scenario;
    const rows = group.map(({ clip, index }) => {
      const title = make("b", {}, `${clip.driver} · ${clip.mode}`);
      const words = make("span", {}, title, make("small", {}, clip.outcome));
      const attributes = { type: "button", title: clip.outcome, click: () => this.choose(index) };
      if (index === this.current) attributes["aria-current"] = "true";
      return make("button", attributes, badge(clip), words);
    });
    return make("section", { "aria-label": name }, make("p", { title: name }, name), ...rows);
  }

  // Choose a clip that is listed, of the same scenario if there is one.
  stay() {
    const listed = this.groups().flat();
    if (!listed.length || listed.some(({ index }) => index === this.current)) return;
    const { scenario } = this.clips[this.current];
    this.choose((listed.find(({ clip }) => clip.scenario === scenario) || listed[0]).index);
  }

  first() {
    return this.groups().flat()[0].index;
  }

  step(by) {
    const order = this.groups()
      .flat()
      .map(({ index }) => index);
    if (order.length) this.choose(order[(order.indexOf(this.current) + by + order.length) % order.length]);
  }
}

class Rivals {
  constructor(clips, choose) {
    Object.assign(this, { clips, choose });
    this.element = box("replay-compare");
  }

  // Show the drivers and modes of this clip's scenario.
  fill(current) {
    this.current = current;
    const focused = this.element.contains(document.activeElement) && document.activeElement.dataset.what;
    this.element.replaceChildren(...["driver", "mode"].map((what) => this.group(what)));
    if (focused) this.element.querySelector(`[data-what="${focused}"][aria-pressed="true"]`).focus();
  }

  group(what) {
    const buttons = this.rivals(what).map(({ name, index }) => {
      const pressed = String(index === this.current);
      const attributes = { type: "button", "data-what": what, "aria-pressed": pressed };
      const rest = { title: this.clips[index].outcome, click: () => this.choose(index) };
      return make("button", { ...attributes, ...rest }, badge(this.clips[index]), name);
    });
    return make("div", { role: "group", "aria-label": what }, make("span", {}, what), ...buttons);
  }

  // For every driver (mode) of this scenario a clip, with the same mode (driver) if there is one.
  rivals(what) {
    const here = this.clips[this.current];
    const other = what === "driver" ? "mode" : "driver";
    const fits = this.clips.filter((clip) => clip.scenario === here.scenario);
    return unique(fits.map((clip) => clip[what])).map((name) => {
      const named = fits.filter((clip) => clip[what] === name);
      const best = name === here[what] ? here : named.find((clip) => clip[other] === here[other]) || named[0];
      return { name, index: this.clips.indexOf(best) };
    });
  }

  next(what) {
    const all = this.rivals(what);
    this.choose(all[(all.findIndex(({ index }) => index === this.current) + 1) % all.length].index);
  }

  // Clips of the same scenario and mode with other drivers.
  others() {
    const { scenario, driver, mode } = this.clips[this.current];
    const fits = (clip) => clip.scenario === scenario && clip.mode === mode && clip.driver !== driver;
    return [...this.clips.keys()].filter((index) => fits(this.clips[index]));
  }
}

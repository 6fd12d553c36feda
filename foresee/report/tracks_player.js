// The player of tracks: the same time bar as the player of drives, another picture.
const TAIL = 25; // frames of a track's past that are drawn
const RATE = 10; // frames per second at 1×
const MARGIN = { left: 54, right: 12, top: 12, bottom: 40 };
const DASHES = { tentative: [4, 3], confirmed: [], coasted: [1.5, 3] };

function starts(counts) {
  const out = [0];
  for (const count of counts) out.push(out[out.length - 1] + count);
  return out;
}

async function unpackTracks(data) {
  const tracks = { start: starts(data.tracks.counts) };
  const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
  const columns = await unpack(data.tracks, total(data.tracks.counts));
  [tracks.x, tracks.y, tracks.major, tracks.minor, tracks.angle, tracks.name, tracks.status] = columns;
  [tracks.length, tracks.width, tracks.yaw] = columns.slice(7);
  const points = async (packed) => {
    if (!packed) return null;
    const [x, y] = await unpack(packed, total(packed.counts));
    return { x, y, start: starts(packed.counts) };
  };
  return { tracks, seen: await points(data.seen), truth: await points(data.truth) };
}

// Steps of an axis: 1, 2 or 5 times a power of ten, so that few fit between the ends.
function ticks(low, high, most) {
  const rough = (high - low) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const out = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step) out.push(value);
  return { values: out, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

class TracksView {
  constructor(root, data, parts) {
    Object.assign(this, { root, data, ...parts, time: 0, playing: false });
    this.show = { ellipses: true, names: data.names.length <= 60, tails: true, seen: true, truth: true };
    this.clip = { dt: 1 / RATE, frames: data.frames, events: [] };
    this.end = (data.frames - 1) / RATE;
    this.view = null;
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    root.addEventListener("keydown", (event) => this.key(event));
    this.listen();
    this.draw();
  }

  build() {
    this.bar = new TimeBar(this);
    this.bar.fill();
    this.canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": "Tracks, frame by frame" });
    const whole = button("Show everything (f)", "Everything", () => this.look(null));
    const larger = button("Zoom in (+)", icon("plus"), () => this.zoom(1.4));
    const smaller = button("Zoom out (−)", icon("minus"), () => this.zoom(1 / 1.4));
    const tools = box("replay-tools", box("replay-group", whole), box("replay-group", larger, smaller));
    this.legend = make("ul", { class: "replay-legend", "aria-label": "Legend" });
    const stage = box("replay-stage", this.canvas, tools);
    const main = box("replay-main", stage, this.bar.element, box("replay-foot", this.legend));
    this.root.querySelector("script").after(box("replay-body tracks", main));
    this.root.querySelector(".replay-body").style.gridTemplateColumns = "minmax(0, 1fr)";
    main.style.gridColumn = "1";
    this.fillLegend();
  }

  fillLegend() {
    const entry = (status) => make("li", {}, make("i", { class: `track ${status}` }), status);
    const toggle = (name, kind, words, key) => {
      const pressed = String(this.show[name]);
      const attributes = { type: "button", "aria-pressed": pressed, title: `Show or hide (${key})` };
      attributes.click = () => this.flip(name);
      return make("li", {}, make("button", attributes, make("i", { class: kind }), words));
    };
    const there = this.data.statuses.filter((_, k) => this.tracks.status.includes(k));
    this.legend.replaceChildren(
      ...there.map(entry),
      toggle("ellipses", "ellipse", "position, 90 %", "e"),
      toggle("names", "tag", "identities", "i"),
      toggle("tails", "tail", "where from", "t"),
      toggle("seen", "dot", "detections", "d"),
      ...(this.truth ? [toggle("truth", "cross", "truth", "g")] : []),
    );
  }

  flip(name) {
    this.show[name] = !this.show[name];
    this.fillLegend();
    this.draw();
  }

  // --- where one looks ---

  listen() {
    let held = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      held = [event.offsetX, event.offsetY];
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      this.pointer = [event.offsetX, event.offsetY];
      if (held) {
        const { x, y, scale } = this.now;
        const down = this.data.down ? 1 : -1;
        this.view = {
          x: x - (event.offsetX - held[0]) / scale,
          y: y - (down * (event.offsetY - held[1])) / scale,
          scale,
        };
        held = [event.offsetX, event.offsetY];
      }
      this.draw();
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (held = null));
    this.canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.draw();
    });
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // a wheel alone scrolls the page
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY / 250));
      },
      { passive: false },
    );
  }

  look(view) {
    this.view = view;
    this.draw();
  }

  zoom(factor) {
    this.look({ ...this.now, scale: this.now.scale * factor });
  }

  whole(width, height) {
    const { low, high } = this.data;
    const room = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    const scale = Math.min(room[0] / (high[0] - low[0]), room[1] / (high[1] - low[1]));
    return { x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, scale };
  }

  // --- time ---

  toggle() {
    this.playing = !this.playing;
    if (this.playing && this.time >= this.end) this.time = 0;
    this.bar.showPlaying(this.playing);
    this.before = null;
    if (this.playing) requestAnimationFrame((now) => this.tick(now));
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
  }

  step(frames) {
    if (this.playing) this.toggle();
    this.seek((Math.round(this.time * RATE) + frames) / RATE);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.key === " " && event.target.matches("button")) return; // it presses them
    const slides = event.target === this.bar.slider && /^(Arrow|Page|Home|End)/.test(event.key);
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(event.shiftKey ? -10 : -1),
      ArrowRight: () => this.step(event.shiftKey ? 10 : 1),
      Home: () => this.seek(0),
      End: () => this.seek(this.end),
      "[": () => this.bar.faster(-1),
      "]": () => this.bar.faster(1),
      "+": () => this.zoom(1.4),
      "=": () => this.zoom(1.4),
      "-": () => this.zoom(1 / 1.4),
      f: () => this.look(null),
      e: () => this.flip("ellipses"),
      i: () => this.flip("names"),
      t: () => this.flip("tails"),
      d: () => this.flip("seen"),
      g: () => this.flip("truth"),
    };
    if (slides || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  // --- drawing ---

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width) return;
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1])
      [this.canvas.width, this.canvas.height] = size;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.now = this.view || this.whole(width, height);
    const { x, y, scale } = this.now;
    const middle = [(width + MARGIN.left - MARGIN.right) / 2, (height + MARGIN.top - MARGIN.bottom) / 2];
    const down = this.data.down ? 1 : -1;
    const frame = clamp(Math.floor(this.time * RATE + 1e-6), 0, this.data.frames - 1);
    const style = getComputedStyle(this.root);
    const draw = { context, width, height, scale, frame, down };
    draw.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    draw.font = style.fontFamily;
    draw.at = (east, north) => [(east - x) * scale + middle[0], down * (north - y) * scale + middle[1]];
    this.drawAxes(draw, middle);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, width - MARGIN.left, height - MARGIN.bottom);
    context.clip();
    if (this.show.seen) this.drawSeen(draw);
    if (this.show.tails) this.drawTails(draw);
    this.drawTracks(draw);
    if (this.truth && this.show.truth) this.drawTruth(draw);
    this.drawNames(draw);
    context.restore();
    this.bar.draw(frame);
    const { words, numbers, times } = this.data;
    const clock = `${words} ${numbers[frame]}`;
    const count = this.tracks.start[frame + 1] - this.tracks.start[frame];
    const moment = words === "frame" || words === "scan" ? "" : `${times[frame].toFixed(1)} s, `;
    this.bar.clock.replaceChildren(clock, make("small", {}, `${moment}${count} tracks`));
    this.bar.slider.setAttribute("aria-valuetext", `${clock}, ${count} tracks`);
    this.root.dataset.frame = frame;
  }

  drawAxes({ context, width, height, scale, colour, font, at, down }, middle) {
    const { x, y } = this.now;
    const [rule, soft] = [colour("rule"), colour("soft")];
    const floor = height - MARGIN.bottom;
    context.font = `12px ${font}`;
    context.strokeStyle = rule;
    context.fillStyle = soft;
    context.lineWidth = 1;
    const across = ticks(x - (middle[0] - MARGIN.left) / scale, x + (width - middle[0]) / scale, width / 90);
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const value of across.values) {
      const left = Math.round(at(value, 0)[0]) + 0.5;
      context.beginPath();
      context.moveTo(left, 0);
      context.lineTo(left, floor);
      context.stroke();
      if (left > MARGIN.left + 8 && left < width - 16)
        context.fillText(value.toFixed(across.digits).replace("-", "−"), left, floor + 5);
    }
    const ends = [y - (down * middle[1]) / scale, y + (down * (floor - middle[1])) / scale];
    const up = ticks(Math.min(...ends), Math.max(...ends), height / 70);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of up.values) {
      const top = Math.round(at(0, value)[1]) + 0.5;
      context.beginPath();
      context.moveTo(MARGIN.left, top);
      context.lineTo(width, top);
      context.stroke();
      if (top > 8 && top < floor - 6)
        context.fillText(value.toFixed(up.digits).replace("-", "−"), MARGIN.left - 6, top);
    }
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillText(`${this.data.axes[0]} [${this.data.unit}]`, MARGIN.left + 2, height - 6);
    context.save();
    context.translate(12, floor - 2);
    context.rotate(-Math.PI / 2);
    context.fillText(`${this.data.axes[1]} [${this.data.unit}]`, 0, 0);
    context.restore();
  }

  drawSeen({ context, frame, at, colour }) {
    context.fillStyle = colour("ink");
    context.globalAlpha = 0.45;
    const { x, y, start } = this.seen;
    for (let i = start[frame]; i < start[frame + 1]; i++) {
      const [left, top] = at(x[i], y[i]);
      context.fillRect(left - 1.5, top - 1.5, 3, 3);
    }
    context.globalAlpha = 1;
  }

  drawTruth({ context, frame, at, colour }) {
    context.strokeStyle = colour("truth");
    context.lineWidth = 1.8;
    context.setLineDash([]);
    const { x, y, start } = this.truth;
    context.beginPath();
    for (let i = start[frame]; i < start[frame + 1]; i++) {
      const [left, top] = at(x[i], y[i]);
      context.moveTo(left - 4, top);
      context.lineTo(left + 4, top);
      context.moveTo(left, top - 4);
      context.lineTo(left, top + 4);
    }
    context.stroke();
  }

  drawTails({ context, frame, at, colour }) {
    const { x, y, name, start, status } = this.tracks;
    const paths = new Map();
    for (let i = start[frame]; i < start[frame + 1]; i++) paths.set(name[i], [[x[i], y[i]], status[i]]);
    const points = new Map([...paths].map(([who, [point]]) => [who, [point]]));
    const first = start[Math.max(frame - TAIL, 0)];
    for (let i = start[frame] - 1; i >= first; i--) points.get(name[i])?.push([x[i], y[i]]);
    context.lineWidth = 1.6;
    context.globalAlpha = 0.55;
    context.setLineDash([]);
    for (const [who, path] of points) {
      context.strokeStyle = colour(this.data.statuses[paths.get(who)[1]] || "confirmed");
      context.beginPath();
      for (const point of path) context.lineTo(...at(...point));
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  drawTracks({ context, frame, at, scale, colour, down }) {
    const { tracks } = this;
    const colours = this.data.statuses.map(colour);
    for (let i = tracks.start[frame]; i < tracks.start[frame + 1]; i++) {
      const status = this.data.statuses[tracks.status[i]] || "confirmed";
      const [left, top] = at(tracks.x[i], tracks.y[i]);
      context.strokeStyle = context.fillStyle = colours[tracks.status[i]] || colour("confirmed");
      context.setLineDash(DASHES[status]);
      context.lineWidth = 1.8;
      if (this.data.shape) {
        context.save();
        context.translate(left, top);
        if (this.data.shape === "above") context.rotate(down * tracks.yaw[i]);
        const [long, wide] = [tracks.length[i] * scale, tracks.width[i] * scale];
        context.strokeRect(-long / 2, -wide / 2, long, wide);
        context.restore();
      } else {
        context.beginPath();
        context.arc(left, top, 3.2, 0, 2 * Math.PI);
        context.stroke();
      }
      if (this.show.ellipses && !Number.isNaN(tracks.major[i])) {
        context.setLineDash([]);
        context.beginPath();
        const half = [tracks.major[i] * scale, tracks.minor[i] * scale];
        context.ellipse(left, top, ...half, down * tracks.angle[i], 0, 2 * Math.PI);
        context.globalAlpha = 0.16;
        context.fill();
        context.globalAlpha = 0.8;
        context.lineWidth = 1;
        context.stroke();
        context.globalAlpha = 1;
      }
    }
    context.setLineDash([]);
  }

  drawNames({ context, frame, at, scale, colour, font }) {
    const { tracks, pointer } = this;
    context.font = `600 12px ${font}`;
    context.textAlign = "left";
    context.textBaseline = "bottom";
    context.lineWidth = 3;
    context.lineJoin = "round";
    for (let i = tracks.start[frame]; i < tracks.start[frame + 1]; i++) {
      const [left, top] = at(tracks.x[i], tracks.y[i]);
      const under = pointer && Math.hypot(pointer[0] - left, pointer[1] - top) < 12;
      if (!this.show.names && !under) continue;
      const shift = this.data.shape === "image" ? [-tracks.length[i] / 2, -tracks.width[i] / 2] : [0, 0];
      const place = [left + shift[0] * scale + (shift[0] ? 0 : 7), top + shift[1] * scale - (shift[0] ? 2 : 4)];
      const words = String(this.data.names[tracks.name[i]]) + (under ? `, ${this.data.statuses[tracks.status[i]]}` : "");
      context.strokeStyle = colour("paper");
      context.strokeText(words, ...place);
      context.fillStyle = colour("ink");
      context.fillText(words, ...place);
    }
  }
}

document.querySelectorAll("figure.replay.tracks").forEach(async (root) => {
  try {
    const data = JSON.parse(root.querySelector("script").textContent);
    root.view = new TracksView(root, data, await unpackTracks(data));
    const wish = new URLSearchParams(location.hash.slice(1)); // #t=12: the 13th frame
    if (wish.has("t")) root.view.seek(Number(wish.get("t")) / RATE);
    root.dataset.ready = "";
  } catch (error) {
    root.prepend(make("p", {}, `The replay could not be shown: ${error.message}`));
    throw error;
  }
});

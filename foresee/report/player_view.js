// The canvas with the road: where one looks, and how a mouse, fingers and keys change it.
const FOLLOWED = 90; // m of road in view around a followed ego

// Make a canvas as fine as the screen, and return what to draw with, in CSS pixels.
function pen(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// The page's colours as the canvas understands them.
function palette(root) {
  const probe = make("i", { hidden: true });
  root.append(probe);
  const colours = {};
  for (const name of [
    "ego",
    "hit",
    "other",
    "expert",
    "belief",
    "foretold",
    "road",
    "lane",
    "edge",
    "ink",
    "soft",
    "paper",
    "rule",
  ]) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  colours.font = getComputedStyle(root).fontFamily;
  probe.remove();
  return colours;
}

class Stage {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.mode = "follow";
    this.zoomed = 1; // of the followed ego
    this.free = { x: 0, y: 0, scale: 1 };
    this.pointers = new Map();
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.changed();
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // a wheel alone scrolls the page
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY / 250), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
  }

  press(event) {
    this.pointers.set(event.pointerId, event);
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    this.pointer = event.pointerType === "mouse" ? [event.offsetX, event.offsetY] : null;
    const before = this.pointers.get(event.pointerId);
    if (before) {
      const others = [...this.pointers.values()].filter((other) => other !== before);
      this.pointers.set(event.pointerId, event);
      if (others.length) {
        const far = (one) => Math.hypot(one.offsetX - others[0].offsetX, one.offsetY - others[0].offsetY);
        this.zoom(far(event) / Math.max(far(before), 1), event.offsetX, event.offsetY);
      } else this.pan(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
    }
    this.changed();
  }

  // Forget what belongs to another road.
  leave() {
    this.last = null;
    if (this.mode === "free") this.mode = "follow";
  }

  pan(right, down) {
    if (Math.hypot(right, down) === 0) return;
    this.free = { ...this.now };
    this.free.x -= right / this.now.scale;
    this.free.y += down / this.now.scale;
    this.mode = "free";
    this.now = this.free;
  }

  zoom(factor, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    if (this.mode === "follow") this.zoomed = clamp(this.zoomed * factor, 0.1, 12);
    else {
      const { x, y, scale } = this.now;
      const next = clamp(scale * factor, 0.02, 80);
      const [right, up] = [left - this.canvas.clientWidth / 2, this.canvas.clientHeight / 2 - top];
      const shift = 1 / scale - 1 / next;
      this.free = { x: x + right * shift, y: y + up * shift, scale: next };
      this.mode = "free";
      this.now = this.free;
    }
    this.changed();
  }

  look(clip, time) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.mode === "follow") {
      const ego = pose(clip, clip.ego, time);
      if (ego) this.last = ego;
      const { x, y } = this.last || this.whole(clip, width, height);
      this.now = { x, y, scale: this.zoomed * Math.max(width / FOLLOWED, 5.5) };
    } else this.now = this.mode === "road" ? this.whole(clip, width, height) : this.free;
  }

  whole(clip, width, height) {
    const path = {
      x: clip.x.subarray(clip.ego * clip.frames, (clip.ego + 1) * clip.frames),
      y: clip.y.subarray(clip.ego * clip.frames, (clip.ego + 1) * clip.frames),
    };
    const lines = [path, ...clip.road.lanes.flat(), ...clip.road.edges];
    const range = (name) => {
      let [low, high] = [Infinity, -Infinity];
      for (const line of lines)
        for (const value of line[name])
          if (!Number.isNaN(value)) {
            low = Math.min(low, value);
            high = Math.max(high, value);
          }
      return low <= high ? [low, high] : [0, 0];
    };
    const [[left, right], [bottom, top]] = [range("x"), range("y")];
    const scale = Math.min(
      (width - 24) / Math.max(right - left, 10),
      (height - 56) / Math.max(top - bottom, 10),
    );
    return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
  }

  draw({ clip, time, show, colours, others }) {
    this.look(clip, time);
    const { context, width, height } = pen(this.canvas);
    const { x, y, scale } = this.now;
    const draw = { context, width, height, scale, colours, clip, time, show };
    draw.at = (east, north) => [(east - x) * scale + width / 2, height / 2 - (north - y) * scale];
    draw.line = (line, from = 0, to = line.x.length) => {
      let down = false;
      for (let i = from; i < to; i++) {
        if (Number.isNaN(line.x[i])) {
          down = false;
          continue;
        }
        context[down ? "lineTo" : "moveTo"](...draw.at(line.x[i], line.y[i]));
        down = true;
      }
    };
    context.lineJoin = context.lineCap = "round";
    drawRoad(draw);
    if (show.expert && clip.expert) drawExpert(draw);
    if (show.trails) drawTrails(draw);
    if (show.foretold && clip.foretold) drawForetold(draw);
    const labels = drawVehicles(draw, this.pointer, others.length ? clip.driver : null);
    labels.unshift(...others.map((other) => drawOther(draw, other)).filter(Boolean));
    if (show.beliefs && clip.beliefs) drawBeliefs(draw);
    drawLabels(draw, labels);
    drawScale(draw);
  }
}

// The curves under the picture.
// Times with round numbers, about one every hundred pixels.
function ticks(end, width) {
  const step =
    [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].find(
      (size) => (size / end) * width >= 64,
    ) || 7200;
  return Array.from({ length: Math.floor(end / step + 1e-6) + 1 }, (_, i) => i * step);
}

// What of a curve is shown: all of it, unless that would leave what is allowed less than a third of the height.
function span(curve, trace) {
  const shown = [...curve, trace.low, trace.high].filter((value) => value !== null && !Number.isNaN(value));
  let [low, high] = [Math.min(...shown), Math.max(...shown)];
  if (trace.low !== null && trace.high > trace.low) {
    const allowed = trace.high - trace.low;
    [low, high] = [Math.max(low, trace.low - allowed), Math.min(high, trace.high + allowed)];
  }
  if (high - low > 1e-9) return { low, high };
  return shown.length ? { low: low - 1, high: high + 1 } : { low: 0, high: 1 };
}

function drawTrace(canvas, trace, curve, { clip, time, colours, others }) {
  const { context, width, height } = pen(canvas);
  const end = Math.max((clip.frames - 1) * clip.dt, clip.dt);
  const across = (t) => INSET + (t / end) * (width - 2 * INSET);
  const { low, high } = span(curve, trace);
  const down = (value) => height - 6 - ((clamp(value, low, high) - low) / (high - low)) * (height - 12);
  context.lineWidth = 1;
  context.strokeStyle = colours.rule;
  for (const t of ticks(end, width)) strokeLine(context, across(t), 0, across(t), height);
  const limits = [trace.high === null ? 0 : down(trace.high), trace.low === null ? height : down(trace.low)];
  context.strokeStyle = context.fillStyle = colours.hit;
  for (const [limit, from, to] of [
    [trace.high, 0, limits[0]],
    [trace.low, limits[1], height],
  ]) {
    if (limit === null) continue;
    context.globalAlpha = 0.08;
    context.fillRect(INSET, from, width - 2 * INSET, to - from);
    context.globalAlpha = 0.75;
    context.setLineDash([4, 3]);
    strokeLine(context, INSET, down(limit), width - INSET, down(limit));
    context.setLineDash([]);
  }
  context.lineJoin = "round";
  context.lineWidth = 1.2;
  context.strokeStyle = context.fillStyle = colours.other;
  for (const other of others) {
    const k = other.traces.findIndex(({ name, unit }) => name === trace.name && unit === trace.unit);
    if (k >= 0) drawCurve(context, other.curves[k], (i) => across(i * other.dt), down);
  }
  context.lineWidth = 1.8;
  const now = across(time);
  for (const [from, to, alpha] of [
    [0, now, 1],
    [now, width, 0.4],
  ])
    // what is still to come is paler
    for (const [top, bottom, colour] of [
      [0, limits[0], "hit"],
      [limits[0], limits[1], "ego"],
      [limits[1], height, "hit"],
    ]) {
      context.save();
      context.beginPath();
      context.rect(from, top, to - from, bottom - top);
      context.clip();
      context.globalAlpha = alpha;
      context.strokeStyle = context.fillStyle = colours[colour];
      drawCurve(context, curve, (i) => across(i * clip.dt), down);
      context.restore();
    }
  context.globalAlpha = 1;
  context.strokeStyle = colours.ink;
  context.lineWidth = 1;
  strokeLine(context, now, 0, now, height);
}

function drawCurve(context, curve, across, down) {
  context.beginPath();
  for (let i = 0; i < curve.length; i++) {
    if (Number.isNaN(curve[i])) continue;
    const after = i > 0 && !Number.isNaN(curve[i - 1]);
    const before = i + 1 < curve.length && !Number.isNaN(curve[i + 1]);
    context[after ? "lineTo" : "moveTo"](across(i), down(curve[i]));
    if (!after && !before) context.fillRect(across(i) - 1.5, down(curve[i]) - 1.5, 3, 3);
  }
  context.stroke();
}

function strokeLine(context, left, top, right, bottom) {
  context.beginPath();
  context.moveTo(left, top);
  context.lineTo(right, bottom);
  context.stroke();
}

function drawAxis(canvas, end, colours) {
  const { context, width } = pen(canvas);
  context.font = `12px ${colours.font}`;
  context.fillStyle = colours.soft;
  context.textBaseline = "top";
  for (const t of ticks(end, width)) {
    const words = Number(t.toFixed(1)) + (t === 0 ? " s" : "");
    const wide = context.measureText(words).width;
    context.fillText(words, clamp(INSET + (t / end) * (width - 2 * INSET) - wide / 2, 0, width - wide), 3);
  }
}

// A number as fine as one can read it off a curve that spans so much.
function reading(value, spanned) {
  if (Number.isNaN(value)) return "–";
  const digits = clamp(2 - Math.floor(Math.log10(spanned)), 0, 6);
  const words = (digits === 6 ? value.toExponential(1) : value.toFixed(Math.min(digits, 4))).replace(
    "-",
    "−",
  );
  return /^−[0.]*$/.test(words) ? words.slice(1) : words;
}

class Curves {
  // `player` has clip, time, end, colours, others and seek(time).
  constructor(player) {
    this.player = player;
    this.element = box("replay-traces");
    this.axis = make("canvas", { class: "replay-axis", "aria-hidden": "true" });
    this.seekOn(this.axis);
  }

  fill() {
    this.rows = this.player.clip.traces.map((trace, k) => this.row(trace, this.player.clip.curves[k]));
    const axis = box("replay-trace", make("div"), this.axis, make("output"));
    this.element.replaceChildren(...this.rows.map(({ element }) => element), axis);
  }

  row(trace, curve) {
    const between = allowed(trace);
    const bad = curve.filter((value) => outside(trace, value)).length;
    const unit = trace.unit && ` in ${trace.unit}`;
    const limits = between && `, allowed ${between}, outside in ${bad} of ${curve.length} frames`;
    const canvas = make("canvas", { role: "img", "aria-label": `${trace.name}${unit}${limits}` });
    this.seekOn(canvas);
    const value = make("output");
    const title = make("div", {}, make("b", {}, trace.name), make("small", {}, between));
    const { low, high } = span(curve, trace);
    return {
      element: box("replay-trace", title, canvas, value),
      canvas,
      value,
      trace,
      curve,
      spanned: high - low,
    };
  }

  seekOn(canvas) {
    const go = (event) => {
      const part = (event.offsetX - INSET) / (canvas.clientWidth - 2 * INSET);
      if (event.buttons & 1) this.player.seek(part * this.player.end);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", go);
  }

  resize() {
    drawAxis(this.axis, Math.max(this.player.end, this.player.clip.dt), this.player.colours);
  }

  draw(frame) {
    for (const { canvas, value, trace, curve, spanned } of this.rows) {
      drawTrace(canvas, trace, curve, this.player);
      const unit = Number.isNaN(curve[frame]) ? "" : ` ${trace.unit}`;
      value.replaceChildren(reading(curve[frame], spanned), make("small", {}, unit));
      value.classList.toggle("outside", outside(trace, curve[frame]));
    }
  }
}

function outside({ low, high }, value) {
  return value < (low ?? -Infinity) || value > (high ?? Infinity);
}

function allowed({ low, high }) {
  const short = (value) => String(Number(value.toPrecision(4))).replace("-", "−");
  if (low !== null && high !== null) return `${short(low)} … ${short(high)}`;
  return high !== null ? `≤ ${short(high)}` : low !== null ? `≥ ${short(low)}` : "";
}

// What the other parts of the player use: elements, the clips that the page holds, where a vehicle is.
// Names of clips only ever enter the page as text nodes and attributes.
const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];
const INSET = 8; // px: half a slider's thumb, so that curves and slider share their time axis
const ICONS = {
  play: "M4 2l10 6-10 6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  back: "M13 2v12L5 8zM3 2h2v12H3z",
  on: "M3 2v12l8-6zM11 2h2v12h-2z",
  plus: "M7 2h2v5h5v2H9v5H7V9H2V7h5z",
  minus: "M2 7h12v2H2z",
  good: "M6.2 13L1.6 8.4l1.6-1.6 3 3 6.6-6.6 1.6 1.6z",
  bad: "M3.6 2L8 6.4 12.4 2 14 3.6 9.6 8l4.4 4.4-1.6 1.6L8 9.6 3.6 14 2 12.4 6.4 8 2 3.6z",
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const seconds = (value) => value.toFixed(value < 100 ? 1 : 0);
const unique = (values) => [...new Set(values)];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function box(name, ...children) {
  return make("div", { class: name }, ...children);
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(label, content, click, attributes = {}) {
  return make("button", { type: "button", "aria-label": label, title: label, click, ...attributes }, content);
}

async function unpack({ columns, data }, length) {
  const packed = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let start = 0;
  return columns.map(([rows, offset, step]) => {
    const size = rows * length;
    const codes = new Uint16Array(size); // sums wrap around, as the differences did
    const values = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      codes[i] = bytes[start + i] + 256 * bytes[start + size + i] + (i % length ? codes[i - 1] : 0);
      values[i] = codes[i] ? offset + step * codes[i] : NaN;
    }
    start += 2 * size;
    return values;
  });
}

async function unpackRoad(road) {
  const [x, y] = await unpack(
    road,
    road.counts.reduce((sum, count) => sum + count, 0),
  );
  let start = 0;
  const lines = road.counts.map((count) => {
    const line = { x: x.subarray(start, start + count), y: y.subarray(start, start + count) };
    start += count;
    return line;
  });
  return {
    lanes: road.lanes.map((pair) => pair.map((k) => lines[k])),
    borders: unique(road.lanes.flat().filter((k) => !road.edges.includes(k))).map((k) => lines[k]),
    edges: road.edges.map((k) => lines[k]),
  };
}

async function unpackClip(clip, roads) {
  const columns = await unpack(clip, clip.frames);
  const [x, y, heading] = columns.splice(0, 3);
  const [expert] = clip.expert ? [columns.splice(0, 2)] : [null];
  const beliefs = clip.beliefs ? columns.splice(0, 5) : null;
  const foretold = await unpackForetold(clip.foretold);
  const road = await roads[clip.road];
  return { ...clip, x, y, heading, expert, beliefs, foretold, curves: columns, road };
}

// Lines have `points` numbers each, ellipses one for every marked point.
async function unpackForetold(packed) {
  if (!packed) return null;
  const [x, y] = await unpack(packed.lines, packed.points);
  const [along, across, angle] = await unpack(packed.doubts, packed.marked.length);
  return { ...packed, x, y, along, across, angle };
}

// Where a vehicle is at any time, between two frames on the line between them; null where it is not.
function pose(clip, vehicle, time) {
  const frame = clamp(time / clip.dt, 0, clip.frames - 1);
  const i = Math.floor(frame + 1e-6);
  const k = vehicle * clip.frames + i;
  if (Number.isNaN(clip.x[k])) return null;
  const here = { x: clip.x[k], y: clip.y[k], heading: clip.heading[k], speed: NaN, i };
  const next = i + 1 < clip.frames && !Number.isNaN(clip.x[k + 1]) ? k + 1 : k;
  const last = next === k && i > 0 && !Number.isNaN(clip.x[k - 1]) ? k - 1 : k;
  if (next === last) return here;
  const moved = [clip.x[next] - clip.x[last], clip.y[next] - clip.y[last]];
  here.speed = Math.hypot(...moved) / clip.dt;
  const part = next === k || calm.matches ? 0 : Math.max(frame - i, 0);
  const turn = clip.heading[next] - here.heading;
  here.x += part * moved[0];
  here.y += part * moved[1];
  here.heading += part * Math.atan2(Math.sin(turn), Math.cos(turn));
  return here;
}

function badge(clip) {
  const mark = make(
    "span",
    { class: `replay-badge ${clip.failed ? "bad" : "good"}` },
    icon(clip.failed ? "bad" : "good"),
  );
  mark.append(make("span", { class: "replay-spoken" }, clip.failed ? "failed: " : "passed: "));
  return mark;
}

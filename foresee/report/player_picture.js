// What is drawn of the road, the vehicles, and what is known of them.
const TRAIL = 1.5; // s
const STALE = 1; // s: what was foretold is shown no longer than this

function drawRoad({ context, clip, colours, line, at, scale }) {
  context.fillStyle = colours.road;
  for (const [left, right] of clip.road.lanes) {
    context.beginPath();
    for (let i = 0; i < left.x.length; i++) context.lineTo(...at(left.x[i], left.y[i]));
    for (let i = right.x.length - 1; i >= 0; i--) context.lineTo(...at(right.x[i], right.y[i]));
    context.fill();
  }
  context.strokeStyle = colours.lane;
  context.lineCap = "butt";
  context.lineWidth = clamp(0.15 * scale, 1, 3);
  if (scale > 2.5) context.setLineDash([3 * scale, 4.5 * scale]); // m, as painted on roads
  for (const border of clip.road.borders) {
    context.beginPath();
    line(border);
    context.stroke();
  }
  context.setLineDash([]);
  context.strokeStyle = colours.edge;
  context.lineWidth = clamp(0.25 * scale, 1.2, 3);
  for (const edge of clip.road.edges) {
    context.beginPath();
    line(edge);
    context.stroke();
  }
}

function drawExpert({ context, clip, colours, line }) {
  context.strokeStyle = colours.expert;
  context.lineWidth = 2;
  context.setLineDash([8, 6]);
  context.beginPath();
  line({ x: clip.expert[0], y: clip.expert[1] });
  context.stroke();
  context.setLineDash([]);
}

// Where vehicles came from: the ego from its start, the others as a short, fading tail.
function drawTrails({ context, clip, colours, time, at }) {
  const last = Math.floor(time / clip.dt + 1e-6);
  for (let vehicle = 0; vehicle < clip.names.length; vehicle++) {
    const ego = vehicle === clip.ego;
    const now = pose(clip, vehicle, time);
    if (!now) continue;
    const path = [at(now.x, now.y)];
    for (let i = last; i >= 0 && (ego || i >= last - TRAIL / clip.dt); i--) {
      const k = vehicle * clip.frames + i;
      if (Number.isNaN(clip.x[k])) break;
      path.push(at(clip.x[k], clip.y[k]));
    }
    const colour = colours[ego ? "ego" : clip.contact && clip.contact[0] === vehicle ? "hit" : "other"];
    const fading = context.createLinearGradient(...path[0], ...path[path.length - 1]);
    fading.addColorStop(0, colour);
    fading.addColorStop(1, "transparent");
    context.strokeStyle = ego ? colour : fading;
    context.globalAlpha = ego ? 0.6 : 0.7;
    context.lineWidth = ego ? 2 : 1.5;
    context.beginPath();
    for (const point of path) context.lineTo(...point);
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawBeliefs({ context, clip, colours, time, at, scale }) {
  const frame = clamp(Math.floor(time / clip.dt + 1e-6), 0, clip.frames - 1);
  const part = calm.matches ? 0 : clamp(time / clip.dt - frame, 0, 1);
  const [x, y, major, minor, angle] = clip.beliefs;
  for (let vehicle = 0; vehicle < clip.names.length; vehicle++) {
    const k = vehicle * clip.frames + frame;
    if (Number.isNaN(x[k])) continue;
    const next = frame + 1 < clip.frames && !Number.isNaN(x[k + 1]) ? k + 1 : k;
    const centre = at(x[k] + part * (x[next] - x[k]), y[k] + part * (y[next] - y[k]));
    context.beginPath();
    context.ellipse(...centre, major[k] * scale, minor[k] * scale, -angle[k], 0, 2 * Math.PI);
    context.fillStyle = context.strokeStyle = colours.belief;
    context.globalAlpha = 0.22;
    context.fill();
    context.globalAlpha = 0.95;
    context.lineWidth = 1.4;
    context.stroke();
  }
  context.globalAlpha = 1;
}

// What the others were expected to do when it was last looked ahead: the more probable, the stronger.
function drawForetold({ context, clip, colours, time, at, scale }) {
  const frame = Math.floor(time / clip.dt + 1e-6);
  const { frames, vehicles, count, points, marked, weights, x, y, along, across, angle } = clip.foretold;
  let n = frames.length - 1;
  while (n >= 0 && frames[n] > frame) n--;
  if (n < 0 || (frame - frames[n]) * clip.dt > STALE) return;
  context.strokeStyle = context.fillStyle = colours.foretold;
  vehicles[n].forEach((vehicle, seat) => {
    if (vehicle < 0) return;
    for (let k = 0; k < count; k++) {
      const row = (n * vehicles[n].length + seat) * count + k;
      const weight = weights[row] / 100;
      if (!weight) continue;
      marked.forEach((point, e) => {
        const i = row * marked.length + e;
        const centre = at(x[row * points + point], y[row * points + point]);
        context.beginPath();
        context.ellipse(...centre, along[i] * scale, across[i] * scale, -angle[i], 0, 2 * Math.PI);
        context.globalAlpha = 0.08 + 0.25 * weight;
        context.fill();
        context.globalAlpha = 0.3 + 0.6 * weight;
        context.lineWidth = 1;
        context.stroke();
      });
      const start = vehicle * clip.frames + frames[n];
      context.beginPath();
      if (!Number.isNaN(clip.x[start])) context.moveTo(...at(clip.x[start], clip.y[start]));
      for (let i = row * points; i < (row + 1) * points; i++) context.lineTo(...at(x[i], y[i]));
      context.globalAlpha = 0.3 + 0.7 * weight;
      context.lineWidth = 1 + 1.6 * weight;
      context.stroke();
    }
  });
  context.globalAlpha = 1;
}

function drawVehicles(draw, pointer, driver) {
  const { clip, time, at, width, height, scale } = draw;
  const touched = clip.contact && time >= clip.contact[1] * clip.dt - 1e-6;
  const order = clip.names.map((_, vehicle) => vehicle);
  const rank = (vehicle) => (vehicle === clip.ego ? 2 : clip.contact && vehicle === clip.contact[0] ? 1 : 0);
  const labels = [];
  for (const vehicle of order.sort((a, b) => rank(a) - rank(b))) {
    const now = pose(clip, vehicle, time);
    if (!now) continue;
    const [left, top] = at(now.x, now.y);
    const reach = clip.length[vehicle] * scale;
    if (left < -reach || left > width + reach || top < -reach || top > height + reach) continue;
    const kind = ["other", "hit", "ego"][rank(vehicle)];
    drawVehicle(draw, left, top, now.heading, vehicle, kind);
    const under = pointer && Math.hypot(pointer[0] - left, pointer[1] - top) < Math.max(reach / 2, 10);
    const name = kind === "ego" && driver ? driver : clip.names[vehicle];
    const words = under && !Number.isNaN(now.speed) ? `${name} · ${now.speed.toFixed(1)} m/s` : name;
    if (under || kind !== "other")
      labels.push({ words, left, top, under, lift: lift(clip, vehicle, now, scale) });
  }
  if (touched) {
    const [one, other] = [pose(clip, clip.ego, time), pose(clip, clip.contact[0], time)];
    if (one && other) drawContact(draw, ...at((one.x + other.x) / 2, (one.y + other.y) / 2));
  }
  return labels;
}

function drawVehicle({ context, colours, clip, scale }, left, top, heading, vehicle, kind) {
  const length = Math.max(clip.length[vehicle] * scale, kind === "other" ? 4 : 7) / 2;
  const width = Math.max(clip.width[vehicle] * scale, kind === "other" ? 2 : 4) / 2;
  const corner = Math.min(0.35 * scale, width / 2);
  context.save();
  context.translate(left, top);
  context.rotate(-heading);
  context.beginPath();
  context.roundRect(
    -length,
    -width,
    2 * length,
    2 * width,
    [corner, 2 * corner, 2 * corner, corner].map((r) => Math.min(r, width)),
  );
  context.fillStyle = colours[kind];
  context.fill();
  context.lineWidth = kind === "other" ? 1 : 1.5;
  context.strokeStyle = kind === "other" ? colours.edge : colours.paper;
  context.stroke();
  if (length > 4) {
    // the windscreen says where the front is
    context.beginPath();
    context.moveTo(0.28 * length, -0.8 * width);
    context.lineTo(0.62 * length, -0.62 * width);
    context.lineTo(0.62 * length, 0.62 * width);
    context.lineTo(0.28 * length, 0.8 * width);
    context.closePath();
    context.fillStyle = colours.paper;
    context.globalAlpha = 0.85;
    context.fill();
    context.globalAlpha = 1;
  }
  context.restore();
}

// Where another driver is, put into the same place of the same scenario.
function drawOther(draw, other) {
  const now = pose(other, other.ego, Math.min(draw.time, (other.frames - 1) * other.dt));
  if (!now) return null;
  const { context, colours, scale } = draw;
  const [left, top] = draw.at(now.x, now.y);
  const [length, width] = [
    Math.max(other.length[other.ego] * scale, 7),
    Math.max(other.width[other.ego] * scale, 4),
  ];
  context.save();
  context.translate(left, top);
  context.rotate(-now.heading);
  context.strokeStyle = colours.ego;
  context.fillStyle = colours.paper;
  context.lineWidth = 2;
  context.globalAlpha = 0.5;
  context.fillRect(-length / 2, -width / 2, length, width);
  context.globalAlpha = 1;
  context.strokeRect(-length / 2, -width / 2, length, width);
  context.restore();
  return { words: other.driver, left, top, under: false, lift: lift(other, other.ego, now, scale) };
}

// Half the height of a turned vehicle on the screen.
function lift(clip, vehicle, now, scale) {
  const [sin, cos] = [Math.abs(Math.sin(now.heading)), Math.abs(Math.cos(now.heading))];
  return (scale * (sin * clip.length[vehicle] + cos * clip.width[vehicle])) / 2;
}

function drawContact({ context, colours, scale }, left, top) {
  const radius = Math.max(2 * scale, 9);
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.strokeStyle = colours.paper;
  context.lineWidth = 5;
  context.stroke();
  context.strokeStyle = colours.hit;
  context.lineWidth = 2.5;
  context.stroke();
}

function drawLabels({ context, colours, width }, labels) {
  context.font = `600 12px ${colours.font}`;
  context.textBaseline = "middle";
  const taken = [];
  for (const { words, left, top, under, lift } of labels.reverse()) {
    const wide = context.measureText(words).width + 10;
    const x = clamp(left - wide / 2, 2, width - wide - 2);
    const free = (y) =>
      taken.every((box) => x + wide < box.x || box.x + box.wide < x || Math.abs(y - box.y) > 20);
    const y = [top - lift - 16, top + lift + 16, top - lift - 37, top + lift + 37].find(free);
    if (y === undefined && !under) continue;
    taken.push({ x, wide, y: y ?? top });
    context.beginPath();
    context.roundRect(x, (y ?? top) - 9, wide, 18, 4);
    context.fillStyle = colours.paper;
    context.globalAlpha = 0.9;
    context.fill();
    context.globalAlpha = 1;
    context.fillStyle = colours.ink;
    context.fillText(words, x + 5, (y ?? top) + 0.5);
  }
}

function drawScale({ context, colours, height, scale }) {
  const metres = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((size) => size * scale >= 50) || 5000;
  const [left, top] = [12, height - 12];
  context.strokeStyle = context.fillStyle = colours.soft;
  context.lineWidth = 1.5;
  context.lineCap = "butt";
  context.beginPath();
  context.moveTo(left, top - 5);
  context.lineTo(left, top);
  context.lineTo(left + metres * scale, top);
  context.lineTo(left + metres * scale, top - 5);
  context.stroke();
  context.font = `12px ${colours.font}`;
  context.textBaseline = "alphabetic";
  context.strokeStyle = colours.paper;
  context.lineWidth = 4;
  context.strokeText(`${metres} m`, left + 5, top - 5);
  context.fillText(`${metres} m`, left + 5, top - 5);
}

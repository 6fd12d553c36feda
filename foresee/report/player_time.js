// The time bar: buttons, slider with marks of what happened, clock.
class TimeBar {
  // `player` has clip, time, end, seek(time), step(frames) and toggle().
  constructor(player) {
    this.player = player;
    this.play = button("Play (space)", icon("play"), () => player.toggle(), { class: "replay-play" });
    const names = { 0.25: "¼", 0.5: "½" };
    const options = SPEEDS.map((speed) => make("option", { value: speed }, `${names[speed] || speed}×`));
    this.rate = make("select", { "aria-label": "Speed", title: "Speed ([ ])" }, ...options);
    this.rate.value = 1;
    this.slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Time" });
    this.slider.addEventListener("input", () => player.seek(this.slider.value * player.clip.dt));
    this.marks = box("replay-marks");
    this.clock = make("output", { class: "replay-clock" });
    const back = button("One frame back (←)", icon("back"), () => player.step(-1));
    const on = button("One frame on (→)", icon("on"), () => player.step(1));
    const buttons = box("replay-buttons", back, this.play, on, this.rate);
    this.element = box("replay-bar", buttons, box("replay-slide", this.marks, this.slider), this.clock);
  }

  get speed() {
    return Number(this.rate.value);
  }

  faster(by) {
    this.rate.value = SPEEDS[clamp(SPEEDS.indexOf(this.speed) + by, 0, SPEEDS.length - 1)];
  }

  showPlaying(playing) {
    this.play.replaceChildren(icon(playing ? "pause" : "play"));
    this.play.setAttribute("aria-label", playing ? "Pause (space)" : "Play (space)");
    this.play.title = playing ? "Pause (space)" : "Play (space)";
  }

  fill() {
    const { clip, end } = this.player;
    this.slider.max = clip.frames - 1;
    const marks = clip.events.map(([time, text]) => {
      const mark = button(`${text}, ${seconds(time)} s`, make("span", {}, text), () =>
        this.player.seek(time),
      );
      mark.style.left = `calc(${INSET}px + (100% - ${2 * INSET}px) * ${clamp(time / (end || 1), 0, 1)})`;
      return mark;
    });
    this.marks.replaceChildren(...marks);
  }

  // Keep the words over the bar inside it, and leave out those that would lie on others.
  spread() {
    const outer = this.marks.getBoundingClientRect();
    let free = -Infinity;
    for (const mark of this.marks.children) {
      const words = mark.firstChild;
      words.hidden = false;
      words.style.transform = "";
      const { left, right, width } = words.getBoundingClientRect();
      const shift = clamp(left, outer.left, Math.max(outer.right - width, outer.left)) - left;
      words.hidden = left + shift < free;
      words.style.transform = `translateX(${shift}px)`;
      if (!words.hidden) free = right + shift + 10;
    }
  }

  draw(frame) {
    const { time, end } = this.player;
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", `${seconds(time)} of ${seconds(end)} seconds`);
    this.slider.style.setProperty("--done", `${end ? (100 * time) / end : 0}%`);
    this.clock.replaceChildren(seconds(time), make("small", {}, ` / ${seconds(end)} s`));
  }
}

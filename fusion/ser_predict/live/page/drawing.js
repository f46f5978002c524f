// The canvas: outline of the voice, stacked posteriors, answers, one time axis. Holds at most LONGEST values of each.
const LONGEST = 4000;
const SHOWN = 20; // seconds of a live session

export class Timeline {
  constructor(canvas, settings) {
    this.canvas = canvas;
    this.settings = settings;
    this.clear(null);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // seconds: length of a recording, or null for a session without an end
  clear(seconds) {
    this.seconds = seconds;
    this.heard = 0;
    this.peaks = []; // [from, to, height]
    this.answers = []; // {from, to, posteriors, label, best}
    this.asked = false;
    this.draw();
  }

  voice(samples, rate) {
    const size = Math.round(rate / 50);
    for (let start = 0; start < samples.length; start += size) {
      let top = 0;
      const stop = Math.min(start + size, samples.length);
      for (let i = start; i < stop; i += 1) top = Math.max(top, Math.abs(samples[i]));
      const from = this.heard;
      this.heard += (stop - start) / rate;
      this.peaks.push([from, this.heard, top / 32768]);
    }
    if (this.peaks.length > LONGEST) this.peaks.splice(0, this.peaks.length - LONGEST);
    this.draw();
  }

  outline(values, seconds) {
    const step = seconds / values.length;
    this.peaks = values.map((value, i) => [i * step, (i + 1) * step, value]);
    this.heard = seconds;
    this.draw();
  }

  answer(reply) {
    const last = this.answers.at(-1);
    const from = last && last.to > reply.start && last.to < reply.end ? last.to : reply.start;
    this.answers.push({ from, to: reply.end, posteriors: reply.posteriors, label: reply.label });
    if (this.answers.length > LONGEST) this.answers.shift();
    this.draw();
  }

  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  paint() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.body);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const span = this.seconds ?? SHOWN;
    const begin = this.seconds === null ? Math.max(0, this.heard - span) : 0;
    const x = (time) => ((time - begin) / span) * width;
    const axis = height - 20;
    const strip = axis - 24;
    const voice = Math.round(strip * 0.36);
    this.paintAxis(pen, begin, span, x, axis, width, colour);
    this.paintVoice(pen, x, voice, width, colour);
    this.paintAnswers(pen, x, voice + 10, strip - 6, strip, colour);
  }

  paintAxis(pen, begin, span, x, top, width, colour) {
    const step = [0.5, 1, 2, 5, 10, 30, 60, 120].find((one) => (span / one) * 60 <= width) ?? 300;
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let time = Math.ceil(begin / step) * step; time <= begin + span; time += step) {
      const place = x(time);
      pen.fillStyle = colour("hair");
      pen.fillRect(place, 0, 1, top);
      pen.fillStyle = colour("soft");
      const text = span > 150 ? `${Math.floor(time / 60)}:${String(time % 60).padStart(2, "0")}` : `${time} s`;
      if (place > 14 && place < width - 14) pen.fillText(text, place, top + 15);
    }
  }

  paintVoice(pen, x, height, width, colour) {
    const middle = height / 2;
    pen.fillStyle = colour("line");
    pen.fillRect(0, middle, width, 1);
    pen.fillStyle = colour("wave");
    for (const [from, to, value] of this.peaks) {
      const half = Math.max(0.5, Math.sqrt(value) * (middle - 2)); // root: quiet speech is seen as well
      pen.fillRect(x(from), middle - half, Math.max(1, x(to) - x(from) - 0.6), 2 * half);
    }
  }

  paintAnswers(pen, x, top, bottom, strip, colour) {
    const { classes, colours } = this.settings;
    for (const one of this.answers) {
      const left = x(one.from);
      const wide = Math.max(1, x(one.to) - left);
      if (left + wide < 0 || !one.posteriors) continue;
      let base = bottom;
      classes.forEach((name, i) => {
        const tall = (one.posteriors[name] ?? 0) * (bottom - top);
        pen.fillStyle = colours[i];
        pen.fillRect(left, base - tall, wide + 0.5, tall + 0.5);
        base -= tall;
      });
      const known = classes.indexOf(one.label);
      pen.fillStyle = known >= 0 ? colours[known] : colour("unsure");
      pen.fillRect(left + 0.5, strip, wide - 1, 20);
    }
  }
}

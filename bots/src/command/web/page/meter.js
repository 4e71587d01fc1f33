// A level meter: the last seconds of one direction as bars on a canvas, and the level now in words.

import { audioContext } from './media.js';

const STEP = 60; // milliseconds a bar
const FLOOR = -60; // dBFS at the bottom

export class Meter {
  constructor(canvas, label) {
    Object.assign(this, { canvas, label, bars: [], level: FLOOR, peak: FLOOR, due: 0, spoken: 0 });
    this.frame = this.frame.bind(this);
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.draw();
  }

  /** Listens to a stream from now on; null for none. */
  listen(stream) {
    this.node?.disconnect();
    this.node = null;
    if (stream) {
      const audio = audioContext();
      this.analyser = new AnalyserNode(audio, { fftSize: 2048, smoothingTimeConstant: 0 });
      this.samples = new Float32Array(this.analyser.fftSize);
      this.node = new MediaStreamAudioSourceNode(audio, { mediaStream: stream });
      this.node.connect(this.analyser);
    }
    if (stream && !this.running) {
      this.running = true;
      requestAnimationFrame(this.frame);
    }
  }

  /** Stops, and keeps the picture; `clear` begins anew. */
  stop() {
    this.listen(null);
    this.running = false;
    this.label.textContent = '';
  }

  clear() {
    this.bars = [];
    this.draw();
  }

  frame(now) {
    if (!this.running) return;
    if (this.node) {
      this.analyser.getFloatTimeDomainData(this.samples);
      const power = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
      this.level = Math.max(FLOOR, 10 * Math.log10(power + 1e-12));
      this.peak = Math.max(this.peak, this.level);
    }
    if (now >= this.due) {
      this.due = Math.max(this.due + STEP, now);
      this.bars.push(this.peak);
      this.peak = FLOOR;
      if (this.bars.length > 400) this.bars.splice(0, 200);
      this.draw();
      if (now - this.spoken > 240) {
        this.spoken = now;
        this.label.textContent = this.level > FLOOR + 1 ? `${Math.round(this.level)} dB` : 'silent';
      }
    }
    requestAnimationFrame(this.frame);
  }

  draw() {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(canvas);
    const pen = canvas.getContext('2d');
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const pitch = 5, thick = 3;
    const count = Math.floor(width / pitch);
    const bars = this.bars.slice(-count);
    for (let at = 0; at < count; at += 1) {
      const bar = bars[at - (count - bars.length)];
      const part = bar === undefined ? 0 : Math.min(1, (bar - FLOOR) / -FLOOR);
      const tall = Math.max(thick, part * part * height);
      pen.fillStyle = bar === undefined || part === 0 ? style.borderTopColor : style.color;
      pen.globalAlpha = bar === undefined || part === 0 ? 1 : 0.45 + 0.55 * (at / count);
      pen.beginPath();
      pen.roundRect(width - (count - at) * pitch, (height - tall) / 2, thick, tall, thick / 2);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }
}

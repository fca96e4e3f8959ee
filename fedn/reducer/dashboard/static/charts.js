// Loss and accuracy per round, drawn by uPlot in the page's colours.

import { text } from "./dom.js";
import { decimal } from "./words.js";

const HEIGHT = 220;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];

// A dot per round, as long as there is room for it.
const dotted = (rounds) => rounds <= 60;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The metric's range with some room; what lies between 0 and 1 is never shown beyond it.
function range(plot, low, high) {
  if (low === null) return [0, 1];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 1e-6);
  return [low >= 0 ? Math.max(0, low - room) : low - room, low >= 0 && high <= 1 ? Math.min(1, high + room) : high + room];
}

const width = (values) => Math.max(0, ...(values ?? []).map((value) => value.length)) * 7 + 16;

function options(figure, rounds, hovered) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(figure.clientWidth, 120),
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: "rounds" }, drag: { x: false, y: false }, y: false },
    scales: { x: { time: false, range: (plot, low, high) => [low ?? 1, Math.max(high ?? 2, (low ?? 1) + 1)] }, y: { range } },
    axes: [
      { ...axis, incrs: STEPS, size: 28 },
      { ...axis, size: (plot, values) => width(values) },
    ],
    series: [{}, { stroke: colour("--accent"), width: 2, points: { show: dotted(rounds.length), size: 6, fill: colour("--accent") } }],
    hooks: { setCursor: [(plot) => hovered(plot.cursor.idx)] },
  };
}

export class Chart {
  constructor(figure, metric) {
    this.metric = metric;
    this.canvas = figure.querySelector(".canvas");
    this.readout = figure.querySelector(".readout");
    this.rounds = [];
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize({ width: Math.max(this.canvas.clientWidth, 120), height: HEIGHT })).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.again());
  }

  // `nothing` says why there is no point, when there is none.
  show(rounds, nothing) {
    this.nothing = nothing;
    const before = JSON.stringify(this.data());
    const had = this.rounds.length;
    this.rounds = rounds;
    this.tell(null);
    if (before === JSON.stringify(this.data()) && had > 0) return;
    if (this.plot !== null && rounds.length && dotted(had) === dotted(rounds.length)) this.plot.setData(this.data());
    else this.again();
  }

  data() {
    return [this.rounds.map((round) => round.round), this.rounds.map((round) => round[this.metric])];
  }

  again() {
    this.plot?.destroy();
    this.plot = null;
    const empty = !this.rounds.some((round) => round[this.metric] !== null);
    this.canvas.toggleAttribute("hidden", empty);
    if (!empty) this.plot = new uPlot(options(this.canvas, this.rounds, (at) => this.tell(at)), this.data(), this.canvas);
  }

  // The value under the pointer, else the newest.
  tell(at) {
    const measured = this.rounds.filter((round) => round[this.metric] !== null);
    const pointed = at === null || at === undefined ? undefined : this.rounds[at];
    const round = pointed && pointed[this.metric] !== null ? pointed : measured.at(-1);
    text(this.readout, round ? `${decimal(round[this.metric])} in round ${round.round}` : this.nothing);
  }
}

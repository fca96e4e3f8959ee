// Numbers, times and states in words.

import { el } from "./dom.js";

export const short = (digest) => digest.slice(0, 12);

export const decimal = (value) => (value === null || value === undefined ? "–" : precise(value));

const precise = (value) => {
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e6) ? value.toExponential(3) : value.toFixed(4);
};

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const reading = (kind) => ({ train: "training", validate: "validating", predict: "predicting" })[kind] ?? kind;

export const command = (line) => el("pre", { class: "command", tabindex: "0" }, el("code", {}, line));

export const isActive = (session) => session !== null && session.ended === null;

// A long list of names, cut to what a reader takes in.
export function names(all, most = 12) {
  const rest = all.length - most;
  return all.slice(0, most).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

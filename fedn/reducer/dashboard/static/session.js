// A session in a few lines: its state, how far it is, what it does now, why it waits or failed.

import { el } from "./dom.js";
import { decimal, names, plural, reading } from "./words.js";

const MOODS = { running: "busy", waiting: "warn", finished: "good", failed: "bad", stopped: "warn" };

export const mood = (status) => `badge ${MOODS[status] ?? ""}`;

export const done = (session) => `${session.round} of ${plural(session.config.rounds, "round")}`;

export function why(session) {
  const reason = session.code ? `${session.reason} (${session.code})` : session.reason;
  return [reason, ...session.warnings.map((warning) => `Be aware that ${warning}.`)].filter(Boolean).join(" ");
}

export function sessionCard(session) {
  if (session === null) return el("p", { class: "empty" }, "No session has been started yet.");
  const last = session.rounds.findLast((round) => round.accuracy !== null || round.loss !== null);
  return el(
    "article",
    { class: "card" },
    el(
      "div",
      { class: "line" },
      el("a", { href: `/plot?session=${encodeURIComponent(session.id)}` }, el("strong", {}, session.id)),
      el("span", { class: mood(session.status) }, session.status),
      el("span", {}, done(session)),
      last ? el("span", { class: "push hint" }, `round ${last.round}: loss ${decimal(last.loss)}, accuracy ${decimal(last.accuracy)}`) : null,
    ),
    el("progress", { value: session.round, max: session.config.rounds, "aria-label": "Rounds done" }),
    why(session) ? el("p", { class: "reason" }, why(session)) : null,
    live(session),
  );
}

// What the combiners report of the running round.
export function live(session) {
  const now = session.live;
  if (now === null) return "";
  const over = now.answered + now.failed;
  const counts = [`${over} of ${now.participants} answered`, now.failed ? `${now.failed} of them failed` : ""];
  const busy = now.busy.length ? `${reading(now.kind)}: ${names(now.busy)}` : now.phases.join(", ");
  return el(
    "div",
    { class: "now" },
    el("p", {}, el("strong", {}, `Round ${now.round}, ${reading(now.kind)}`), ` · ${counts.filter(Boolean).join(", ")}`),
    el("progress", { value: over, max: now.participants || 1, "aria-label": "Clients that answered" }),
    el("p", { class: "hint name" }, busy),
  );
}

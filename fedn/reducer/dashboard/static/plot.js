// One session, watched: what it does now, its curves, its rounds.

import { Chart } from "./charts.js";
import { byId, draw, el, embedded, keyed, show, text } from "./dom.js";
import { poll } from "./poll.js";
import { roundTable } from "./rounds.js";
import { done, live, mood, why } from "./session.js";
import { decimal, isActive, when } from "./words.js";

const ENDED_LOOK_MS = 5000;
const charts = ["loss", "accuracy"].map((metric) => new Chart(byId(metric), metric));
let watched = null;

function render({ session, sessions }) {
  watched = session;
  choices(sessions, session);
  show(byId("none"), session === null);
  show(byId("view"), session !== null);
  text(byId("title"), session === null ? "" : session.id);
  document.title = session === null ? "Plot · FEDn" : `${done(session)} · ${session.status} · FEDn`;
  if (session === null) return;
  state(session);
  for (const chart of charts) chart.show(session.rounds, nothing(session, chart.metric));
  roundTable(session.rounds);
  draw(byId("config"), [session.lineage, session.config, session.created, session.ended], () => config(session));
}

function choices(sessions, session) {
  show(byId("choose"), sessions.length > 0);
  const which = byId("which");
  if (document.activeElement === which) return;
  keyed(which, sessions, (one) => one.id, (one) => el("option", { value: one.id }, `${one.id} · ${one.status}`));
  if (session !== null) which.value = session.id;
}

function state(session) {
  const status = byId("status");
  text(status, session.status);
  status.className = mood(session.status);
  text(byId("count"), done(session));
  const progress = byId("progress");
  progress.max = session.config.rounds;
  progress.value = session.round;
  show(byId("reason"), why(session) !== "");
  text(byId("reason"), why(session));
  const stop = byId("stop");
  stop.action = `/api/v1/sessions/${encodeURIComponent(session.id)}/stop`;
  show(stop, isActive(session));
  draw(byId("live"), session.live, () => [live(session)]);
}

function nothing(session, metric) {
  if (!session.config.validate) return "This session does not validate its models.";
  const reported = session.rounds.flatMap((round) => Object.keys(round.validation));
  if (reported.length) return `The clients report no ${metric}, but ${[...new Set(reported)].sort().join(", ")}.`;
  return isActive(session) ? "The first point comes when the first model was validated." : "No model was validated.";
}

function config(session) {
  const lineage = ["lineage", session.lineage === null ? "–" : String(session.lineage)];
  const asked = Object.entries(session.config).map(([name, value]) => [name, worded(value)]);
  const times = [["started", when(session.created)], ["ended", session.ended === null ? "–" : when(session.ended)]];
  return [lineage, ...asked, ...times].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

function worded(value) {
  if (value === null) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" && !Number.isInteger(value) ? decimal(value) : String(value);
}

render(embedded());
poll(render, {
  pause: () => (isActive(watched) || watched === null ? 1000 : ENDED_LOOK_MS),
  absent: { session: null, sessions: [] },
});

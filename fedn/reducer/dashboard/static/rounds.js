// The table of rounds, newest first, each with what failed in it.

import { byId, el, keyed, show, text } from "./dom.js";
import { decimal, plural, short } from "./words.js";

const MOST = 100;
const MOODS = { committed: "good", failed: "bad", started: "busy" };
const COLUMNS = 8;

export function roundTable(rounds) {
  const shown = rounds.slice(-MOST).reverse();
  const lines = shown.flatMap((round) => (troubles(round) ? [round, { troubled: round }] : [round]));
  const key = (line) => (line.troubled ? `troubles of ${line.troubled.round}` : `round ${line.round}`);
  keyed(byId("rounds"), lines.length ? lines : [null], (line) => (line === null ? "none" : key(line)), row);
  const older = rounds.length - shown.length;
  show(byId("older"), older > 0);
  text(byId("older"), `${plural(older, "older round is", "older rounds are")} not shown; fedn session status lists all.`);
}

const troubles = (round) =>
  round.failures.length + Object.keys(round.refused).length + round.losses.length + (round.reason ? 1 : 0);

function row(line) {
  if (line === null) return el("tr", {}, el("td", { colspan: COLUMNS, class: "hint" }, "The first round has not begun yet."));
  return line.troubled ? troubleRow(line.troubled) : roundRow(line);
}

const number = (words) => el("td", { class: "number" }, words);

const roundRow = (round) =>
  el(
    "tr",
    {},
    el("th", { scope: "row", class: "number" }, String(round.round)),
    el("td", {}, el("span", { class: `badge ${MOODS[round.status] ?? ""}` }, round.status)),
    number(decimal(round.loss)),
    number(decimal(round.accuracy)),
    number(String(round.participants)),
    number(String(round.updates)),
    number(round.seconds === null ? "–" : round.seconds.toFixed(2)),
    el("td", {}, round.model ? modelLink(round.model) : "–"),
  );

const modelLink = (digest) =>
  el(
    "a",
    { href: `/api/v1/models/${encodeURIComponent(digest)}`, download: `${short(digest)}.safetensors`, title: digest },
    el("code", {}, short(digest)),
  );

function troubleRow(round) {
  const refused = Object.entries(round.refused);
  const heads = [
    round.failures.length ? plural(round.failures.length, "failure") : "",
    ...round.losses.map((loss) => `combiner ${loss.combiner} was lost: ${loss.reason}`),
    refused.length ? `refused: ${refused.map(([code, count]) => `${count} × ${code}`).join(", ")}` : "",
    round.reason,
  ];
  const summary = `Round ${round.round}: ${heads.filter(Boolean).join("; ")}`;
  const inside = round.failures.length
    ? el("details", {}, el("summary", {}, summary), el("ul", { class: "failures" }, round.failures.map(failure)))
    : el("p", {}, summary);
  return el("tr", { class: "trouble" }, el("td", { colspan: COLUMNS }, inside));
}

const failure = (client) =>
  el(
    "li",
    {},
    el("p", { class: "name" }, el("strong", {}, client.name), ` ${client.status} · `, el("code", {}, client.code), ` · ${client.reason}`),
    client.stderr_tail
      ? el("pre", { class: "tail", tabindex: "0", "aria-label": "End of the script's stderr" }, client.stderr_tail.trimEnd())
      : null,
  );

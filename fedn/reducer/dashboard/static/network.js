// The state of the network: who is there, what they do, what is still missing.

import { byId, draw, el, embedded, keyed, show, text } from "./dom.js";
import { poll } from "./poll.js";
import { sessionCard } from "./session.js";
import { command, plural, reading, short } from "./words.js";

const reducer = location.origin;

function render(network) {
  const up = network.combiners.filter((combiner) => combiner.up).length;
  draw(byId("facts"), [network.connected, up, network.combiners.length, network.package, network.seed, network.trail], () =>
    facts(network, up),
  );
  const missing = steps(network, up);
  show(byId("next"), missing.length > 0);
  keyed(byId("steps"), missing, (step) => step.title, ({ title, link, line }) =>
    el("li", {}, el("p", {}, link ? el("a", { href: link }, title) : title), line ? command(line) : null),
  );
  draw(byId("session"), network.session, (session) => [sessionCard(session)]);
  const combiners = network.combiners.length ? network.combiners : [null];
  keyed(byId("combiners"), combiners, (combiner) => (combiner === null ? "none" : `is ${combiner.name}`), combinerCard);
  text(document.querySelector("footer"), `FEDn ${network.version}`);
}

function facts(network, up) {
  const packaged = network.package;
  return [
    fact("Clients", String(network.connected), "connected"),
    fact("Combiners", `${up} of ${network.combiners.length}`, "up"),
    fact("Package", packaged ? packaged.name : "none", packaged ? short(packaged.digest) : "upload one", "/context"),
    fact("Seed", network.seed ? short(network.seed) : "none", network.seed ? "planted" : "upload one", "/seed"),
    fact("Trail", plural(network.trail.records, "model"), network.trail.latest ? `latest ${short(network.trail.latest)}` : "empty", "/trail"),
  ];
}

const fact = (name, value, note, href = null) =>
  el("div", {}, el("dt", {}, name), el("dd", {}, href ? el("a", { href }, value) : value, el("small", {}, note)));

// What stands between this network and a session, in the order in which one does it.
function steps(network, up) {
  const one = [];
  const add = (title, line, link = null) => one.push({ title, line, link });
  if (network.trail.missing) add(`Restore a backup of the blobs: ${network.trail.missing}.`);
  if (!up) add("Start a combiner:", `fedn run combiner --reducer ${reducer}`);
  if (!network.connected) add("Start a client where the data is, with a folder of its own:", `fedn run client --reducer ${reducer} --dir client-1`);
  if (!network.package) add("Upload the compute package", "fedn package create path/to/project -o package.tar", "/context");
  if (!network.seed) add("Upload the seed model", "python init_model.py seed.safetensors", "/seed");
  if (!network.session) add("Start a session", `fedn session start --rounds 10 --reducer ${reducer}`, "/start");
  return one;
}

function combinerCard(combiner) {
  if (combiner === null) return el("p", { class: "empty" }, "No combiner has come yet; the next steps above say how to start one.");
  const clients = combiner.clients;
  return el(
    "article",
    { class: "card" },
    el(
      "header",
      { class: "line" },
      el("h3", {}, combiner.name),
      el("span", { class: `badge ${combiner.up ? "good" : "bad"}` }, combiner.up ? "up" : "not up"),
      el("span", { class: "push hint" }, `${combiner.address}, ${plural(clients.length, "client")}${late(combiner)}`),
    ),
    clients.length ? clientTable(clients) : el("p", { class: "hint" }, combiner.up ? "No client is attached." : why(combiner.reason)),
  );
}

const late = (combiner) => (combiner.late ? `, ${plural(combiner.late, "late result")}` : "");

const why = (reason) => (reason ? `Not up: ${reason}.` : "It takes no new work.");

const clientTable = (clients) =>
  el(
    "table",
    {},
    el("thead", {}, el("tr", {}, heading("Part", "number"), heading("Client"), heading("Works on"), heading("CPUs", "number"))),
    el("tbody", {}, clients.map(clientRow)),
  );

const heading = (name, kind = null) => el("th", { scope: "col", class: kind }, name);

const clientRow = (client) =>
  el(
    "tr",
    {},
    el("td", { class: "number" }, String(client.part)),
    el("td", { class: "name", title: client.client_id }, client.name),
    el("td", {}, client.task ? el("span", { class: "busy" }, reading(client.task)) : el("span", { class: "hint" }, "idle")),
    el("td", { class: "number" }, client.cpus ? String(client.cpus) : "–"),
  );

render(embedded());
poll(render);

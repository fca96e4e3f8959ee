// Ask the page's own address for its data, as JSON, while somebody looks at it.

import { byId, show, text } from "./dom.js";

const ASK_AGAIN_MS = 1000;
const GIVE_UP_MS = 20000;
const SLOWEST_MS = 8000;

// Calls `changed(data)` when the answer differs from the last one; `pause()` may ask for slower looks.
export function poll(changed, { pause = () => ASK_AGAIN_MS, absent = null } = {}) {
  let timer = 0;
  let running = null;
  let seen = "";
  let failures = 0;

  async function look() {
    if (running !== null || document.hidden) return;
    running = new AbortController();
    const deadline = setTimeout(() => running.abort(), GIVE_UP_MS);
    let fresh = "";
    let trouble = "";
    try {
      fresh = await answer(running.signal, absent);
    } catch (error) {
      trouble = error.message;
    }
    clearTimeout(deadline);
    running = null;
    if (document.hidden) return;
    tell(trouble);
    failures = trouble ? failures + 1 : 0;
    if (!trouble && fresh !== seen) {
      seen = fresh;
      changed(JSON.parse(fresh));
    }
    timer = setTimeout(look, trouble ? Math.min(ASK_AGAIN_MS * 2 ** (failures - 1), SLOWEST_MS) : pause());
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) running?.abort();
    else look();
  });
  timer = setTimeout(look, ASK_AGAIN_MS);
}

async function answer(signal, absent) {
  let response;
  try {
    response = await fetch(location.href, { headers: { Accept: "application/json" }, cache: "no-store", signal });
  } catch {
    throw new Error("Connection lost, retrying…");
  }
  if (response.status === 401) location.reload(); // the login has ended: its form comes in the place of this page
  if (response.status === 404 && absent !== null) return JSON.stringify(absent);
  if (!response.ok) throw new Error(`The reducer answers with an error (${response.status}), retrying…`);
  return response.text();
}

function tell(trouble) {
  const line = byId("connection");
  text(line, trouble);
  show(line, trouble !== "");
}

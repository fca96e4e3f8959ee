// Times of the server in the reader's own clock.

import { when } from "./words.js";

for (const time of document.querySelectorAll("time[data-seconds]")) {
  const seconds = Number(time.dataset.seconds);
  time.dateTime = new Date(seconds * 1000).toISOString();
  time.textContent = when(seconds);
}

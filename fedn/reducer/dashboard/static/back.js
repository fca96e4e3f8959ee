// The browser keeps a form's values when one goes back.

import { byId, show } from "./dom.js";

if (history.length > 1) {
  const back = byId("back");
  back.addEventListener("click", () => history.back());
  show(back, true);
}

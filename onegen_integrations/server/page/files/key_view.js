// The dialog that asks for a key when the server wants one.

import { byId, say } from "./dom.js";
import { currentKey, onMissingKey, useKey } from "./server.js";

const WRONG = "The server does not know this key.";
const NONE = "This server lets in callers with a key only. Reload the page to enter one.";
const UNUSABLE = "A key has letters, digits and signs without spaces.";

// `begin` runs when a key was given.
export function startKeys(begin) {
  const dialog = byId("key-dialog");

  onMissingKey((wasGiven) => {
    useKey(null);
    showState();
    say(byId("key-problem"), wasGiven ? WRONG : "");
    if (!dialog.open) dialog.showModal();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      say(byId("key-problem"), UNUSABLE);
      return;
    }
    useKey(key);
    byId("key").value = "";
    showState();
    dialog.close();
    begin();
  });
  dialog.addEventListener("close", () => {
    if (!currentKey()) say(byId("problem"), NONE);
  });
  byId("forget-key").addEventListener("click", () => {
    useKey(null);
    location.reload();
  });
  showState();
}

function showState() {
  byId("forget-key").hidden = !currentKey();
}

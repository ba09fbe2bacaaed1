// Asks for the server's API key and remembers it for as long as the tab is open.

import { setApiKey } from "./api.js";
import { loadApiKey, saveApiKey } from "./store.js";

const $ = (id) => document.getElementById(id);

/** Shows the dialog, unless it is open; calls `then` once there is a key. */
export function askForKey(then) {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  $("key-text").textContent = loadApiKey()
    ? "The server does not know the key you gave. Check it and enter it again."
    : "Ask whoever runs this server for an API key. It is kept in this browser until you close the tab.";
  $("key-input").value = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "ok") return;
    saveApiKey($("key-input").value);
    setApiKey($("key-input").value);
    then();
  };
  dialog.returnValue = "";
  dialog.showModal();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("key-dialog").close("ok");
});
$("key-cancel").onclick = () => $("key-dialog").close();

setApiKey(loadApiKey());

// Light or dark: what the reader chose, else what the system says.

import { loadTheme, saveTheme } from "./store.js";

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

document.getElementById("theme").onclick = () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (loadTheme() ?? system) === "dark" ? "light" : "dark";
  // A choice that agrees with the system is no choice: the page follows the system again.
  const theme = next === system ? null : next;
  saveTheme(theme);
  applyTheme(theme);
};

applyTheme(loadTheme());

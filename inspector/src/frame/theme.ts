// Light and dark: the system's wish until the reader chooses.

import { effect } from "@preact/signals";
import { theme } from "../model/view";

const KEY = "backlit-theme";

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be denied to pages from disk
  }
}

export function startTheme(): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = remembered();
  theme.value = chosen === "dark" || chosen === "light" ? chosen : system.matches ? "dark" : "light";
  system.addEventListener("change", () => {
    if (!remembered()) theme.value = system.matches ? "dark" : "light";
  });
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
  });
}

export function toggleTheme(): void {
  theme.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // the choice lasts as long as the page
  }
}

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

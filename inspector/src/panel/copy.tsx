/** A button that puts text on the clipboard. */

import { useState } from "preact/hooks";
import { spoken } from "../model/view";

async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages without permission (a sandboxed frame) still have the old way
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      type="button"
      class="copy"
      title={`copy ${what}: ${text}`}
      aria-label={`copy ${what}`}
      onClick={async () => {
        await copy(text);
        setDone(true);
        spoken.value = `copied ${text}`;
        setTimeout(() => setDone(false), 1200);
      }}
    >
      {done ? (
        "✓"
      ) : (
        <svg width="11" height="11" viewBox="0 0 11 11" aria-hidden="true">
          <path d="M3.5 3.5V1h6.5v6.5H7.5M1 3.5h6.5V10H1z" fill="none" stroke="currentColor" stroke-width="1.2" />
        </svg>
      )}
    </button>
  );
}

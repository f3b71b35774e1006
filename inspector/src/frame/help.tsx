// The list of keys, as a dialog.

import { useLayoutEffect, useRef } from "preact/hooks";
import { helpShown } from "../model/view";
import { HELP } from "./keys";

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    dialog.current!.showModal();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  return (
    <dialog class="help" ref={dialog} aria-label="Keys" onClose={() => (helpShown.value = false)}>
      <h2>Keys</h2>
      <dl>
        {HELP.map(({ keys, does }) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key, i) => (key === "+" && keys.includes("Shift + ") || key === "+" && keys.includes("Alt + ") ? " + " : <kbd key={i}>{key}</kbd>))}
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="quiet">
        Blue is the forward pass, orange the backward pass. A line is as wide as the contribution that runs back along it. A small square
        marks what is kept for the backward pass, a ring a parameter. Double click opens a module.
      </p>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}

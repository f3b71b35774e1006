/** A part of a panel under a heading. */

import type { ComponentChildren } from "preact";

interface Props {
  title: string;
  note?: ComponentChildren;
  /** Said in place of the contents where there is nothing to show. */
  empty?: string;
  tools?: ComponentChildren;
  children?: ComponentChildren;
}

export function Section({ title, note, empty, tools, children }: Props) {
  return (
    <section class="part">
      <header>
        <h3>{title}</h3>
        {note ? <span class="quiet note">{note}</span> : null}
        {tools ? <span class="tools">{tools}</span> : null}
      </header>
      {children ?? (empty ? <p class="quiet">{empty}</p> : null)}
    </section>
  );
}

/** Numbers behind a chart, closed until asked for unless `open`. */
export function Behind({ title = "The numbers as a table", open = false, children }: { title?: string; open?: boolean; children: ComponentChildren }) {
  return (
    <details class="behind" open={open}>
      <summary>{title}</summary>
      <div class="scroll">{children}</div>
    </details>
  );
}

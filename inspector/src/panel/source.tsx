/** The line of the program that made a node. */

import { recording } from "../model/view";
import { Section } from "./section";

export function SourceView({ node }: { node: number }) {
  const source = recording.sourceOf(node);
  if (!source) return null;
  const table = recording.table("source");
  const snippet = table.text(source.row, "snippet");
  const first = table.number(source.row, "snippet_start");
  const within = table.text(source.row, "function");
  const lines = snippet ? snippet.replace(/\n$/, "").split("\n") : [];
  return (
    <Section title="Source" note={`${source.file}:${source.line}${within && within !== "<module>" ? `, in ${within}` : ""}`}>
      {lines.length ? (
        <pre class="snippet" tabIndex={0}>
          {lines.map((line, i) => (
            <span key={i} class={first + i === source.line ? "here" : ""}>
              <i>{first + i}</i>
              {line || " "}
              {"\n"}
            </span>
          ))}
        </pre>
      ) : null}
    </Section>
  );
}

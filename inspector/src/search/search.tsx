// The search box: hits are counted, walked with the arrows, and lit in the graph.

import { effect, signal } from "@preact/signals";
import { nodeSpan } from "../graph/client";
import { hits, query, recording, reveal, spoken, step } from "../model/view";
import { find } from "./filter";

/** Which hit is looked at, and what is wrong with the question. */
const at = signal(-1);
const problem = signal("");

/** Answers the question whenever it, or the step on show, changes; once for the whole page. */
export function startSearch(): void {
  effect(() => {
    const asked = query.value.trim();
    void step.value;
    const found = asked ? find(asked, ...nodeSpan()) : { nodes: null, problem: "" };
    problem.value = found.problem;
    hits.value = found.problem ? null : found.nodes;
    at.value = -1;
  });
}

export function Search() {
  const found = hits.value;
  const go = (by: number): void => {
    if (!found?.length) return;
    at.value = (at.value + by + found.length) % found.length;
    if (at.value < 0) at.value = 0;
    reveal(found[at.value]!);
    spoken.value = `${at.value + 1} of ${found.length}: ${recording.name(found[at.value]!)}`;
  };
  const keys = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown" || event.key === "Enter") go(at.value < 0 ? 1 : event.shiftKey ? -1 : 1);
    else if (event.key === "ArrowUp") go(-1);
    else if (event.key === "Escape") {
      if (query.value) query.value = "";
      else event.currentTarget instanceof HTMLElement && event.currentTarget.blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="search" role="search">
      <input
        id="search"
        type="search"
        placeholder="search  /"
        aria-label="search: words, op:matmul, shape:64x10, has:nan, is:merge, delta.norm>0.1"
        title={"words in the name\nop:matmul  shape:64x10  dtype:float32  kind:parameter  module:h.3\nhas:nan  is:merge  is:saved  is:shared\ndelta.norm>0.1  grad.rms<1e-8  value.absmax>10  bytes>1e6\n-word: not;  ↑ ↓ through the hits"}
        autocomplete="off"
        spellcheck={false}
        value={query.value}
        aria-invalid={problem.value !== ""}
        aria-describedby="search-state"
        onInput={(event) => (query.value = event.currentTarget.value)}
        onKeyDown={keys}
      />
      <span id="search-state" class={problem.value ? "problem" : "quiet"}>
        {problem.value || (found ? (found.length ? `${at.value >= 0 ? `${at.value + 1}/` : ""}${found.length}` : "none") : "")}
      </span>
      {found?.length ? (
        <>
          <button type="button" title="previous hit (↑)" aria-label="previous hit" onClick={() => go(-1)}>
            ↑
          </button>
          <button type="button" title="next hit (↓)" aria-label="next hit" onClick={() => go(1)}>
            ↓
          </button>
        </>
      ) : null}
    </div>
  );
}

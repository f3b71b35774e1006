// Where the selection is: the modules around it, each a button.

import { recording, select, selected, selectedModule } from "../model/view";
import { tree } from "./client";

export function Breadcrumb() {
  const node = selected.value;
  const module = node >= 0 ? recording.nodeModule[node]! : selectedModule.value;
  if (!tree.value || module < 0) return null;
  const path: number[] = [];
  for (let m = module; m >= 0 && path.length < 64; m = recording.moduleParent(m)) path.unshift(m);
  return (
    <nav class="breadcrumb" aria-label="Modules around the selection">
      {path.map((m) => (
        <button
          key={m}
          type="button"
          onClick={() => {
            select(-1);
            selectedModule.value = m;
          }}
        >
          {m > 0 ? recording.module.text(m, "name") : "all"}
        </button>
      ))}
      {node >= 0 ? <span aria-current="true">{recording.label(node)}</span> : null}
    </nav>
  );
}

// The panels beside the graph.

import { panel, recording, selected } from "../model/view";

export function Panels() {
  const node = selected.value;
  return (
    <div class="panel-body" data-panel={panel.value}>
      {node >= 0 ? <h2>{recording.name(node)}</h2> : <p>Choose a node in the graph.</p>}
    </div>
  );
}

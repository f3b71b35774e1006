// The application: toolbar, tree, graph, panels, time.

import { Panels } from "../panel";
import { toggleTheme } from "./theme";

export function App() {
  return (
    <div class="app">
      <header class="toolbar">
        <span class="brand">backlit</span>
        <button type="button" onClick={toggleTheme}>
          Light / dark
        </button>
      </header>
      <main class="stage" />
      <aside class="panels" aria-label="Panels">
        <Panels />
      </aside>
    </div>
  );
}

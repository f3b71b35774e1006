// Boot: reads the recording in the page, then draws the application.

import { render } from "preact";
import "katex/dist/katex.css";
import "./theme.css";
import "./frame/frame.css";
import { App, start } from "./frame/app";
import { startLive } from "./frame/live";
import { setRedraw } from "./frame/swap";
import { startSweep } from "./frame/sweep";
import { startTheme } from "./frame/theme";
import { startWorker } from "./graph/client";
import { decode } from "./model/decode";
import { Recording } from "./model/recording";
import { setRecording } from "./model/view";

async function boot(): Promise<void> {
  const root = document.getElementById("inspector")!;
  startTheme();
  startWorker();
  try {
    const carrier = document.getElementById("recording");
    setRecording(new Recording(await decode(carrier?.textContent ?? "")));
    carrier?.remove(); // megabytes of text that nobody reads again
  } catch (error) {
    root.innerHTML = "";
    const message = document.createElement("p");
    message.className = "failed";
    message.setAttribute("role", "alert");
    message.textContent = `The recording in this page cannot be read: ${error instanceof Error ? error.message : error}`;
    root.append(message);
    return;
  }
  startSweep();
  start();
  render(<App />, root);
  setRedraw(() => {
    render(null, root);
    render(<App />, root);
  });
  startLive();
}

void boot();

// The widget's side in a notebook (the front end module of anywidget): a frame with the page of the kernel's run, and the messages
// between the two. The frame may run its own program and nothing else; it gets one channel to speak through.

interface Model {
  get(name: string): unknown;
  send(message: object): void;
  on(event: string, heard: (message: Told, buffers: DataView[]) => void): void;
  off(event: string, heard: (message: Told, buffers: DataView[]) => void): void;
}

interface Told {
  view?: string;
  page?: boolean;
  text?: string;
}

const SILENCE_MS = 2000; // after so long without an answer the reader is told

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const view = crypto.getRandomValues(new Uint32Array(4)).join("-"); // a notebook may have several of one widget
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "live recording";
  frame.style.cssText = `width:100%;height:${Number(model.get("height"))}px;border:0`;
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  status.textContent = "waiting for the kernel";
  el.append(status);

  let port: MessagePort | null = null;
  let waiting = 0; // the timer that runs while an answer is due

  const say = (text: string) => {
    model.send({ view, text });
    if (!waiting) waiting = setTimeout(() => port?.postMessage('{"waiting": true}'), SILENCE_MS) as unknown as number;
  };
  const heard = (message: Told, buffers: DataView[]) => {
    if (message.view !== view) return;
    clearTimeout(waiting);
    waiting = 0;
    const bytes = buffers[0];
    if (message.page && bytes) {
      frame.srcdoc = new TextDecoder().decode(bytes);
      status.replaceWith(frame);
    } else if (bytes) {
      const copy = new Uint8Array(bytes.byteLength); // the view may be part of a longer message
      copy.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      port?.postMessage(copy.buffer, [copy.buffer]);
    } else if (message.text !== undefined) port?.postMessage(message.text);
  };
  const ready = (event: MessageEvent) => {
    if (event.source !== frame.contentWindow || event.data !== "backlit ready") return;
    const channel = new MessageChannel();
    port = channel.port1;
    port.onmessage = ({ data }) => typeof data === "string" && say(data);
    frame.contentWindow!.postMessage("backlit", "*", [channel.port2]);
  };
  addEventListener("message", ready);
  model.on("msg:custom", heard);
  model.send({ view, open: true });
  return () => {
    removeEventListener("message", ready);
    model.off("msg:custom", heard);
    clearTimeout(waiting);
    port?.close();
    model.send({ view, close: true });
  };
}

export default { render };

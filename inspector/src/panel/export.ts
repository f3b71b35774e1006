/** Pictures of a panel's charts, as files. */

export function download(name: string, contents: string | Blob, type = "text/plain"): void {
  const blob = typeof contents === "string" ? new Blob([contents], { type }) : contents;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const PROPERTIES = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-family",
  "font-size", "font-weight", "text-anchor",
];

/** A copy of a drawing that carries its own style, so that it looks the same outside the page. */
function standalone(svg: SVGSVGElement): SVGSVGElement {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const from = [svg, ...svg.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    (to[i] as SVGElement).setAttribute("style", PROPERTIES.map((p) => `${p}:${style.getPropertyValue(p)}`).join(";"));
  });
  return copy;
}

const SPACE = "http://www.w3.org/2000/svg";

function textAt(element: Element, origin: DOMRect): SVGTextElement {
  const bounds = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  const text = document.createElementNS(SPACE, "text");
  text.textContent = element.textContent;
  text.setAttribute("x", String(bounds.left - origin.left + parseFloat(style.paddingLeft)));
  text.setAttribute("y", String(bounds.top - origin.top + bounds.height * 0.5 + parseFloat(style.fontSize) * 0.36));
  text.setAttribute("style", `fill:${style.color};font:${style.fontWeight} ${style.fontSize} ${style.fontFamily}`);
  return text;
}

/** Everything drawn under `root` as one SVG: vector drawings as they are, canvases as pictures, text where it stands. */
export function pictureOf(root: HTMLElement): string {
  const origin = root.getBoundingClientRect();
  const whole = document.createElementNS(SPACE, "svg");
  const width = Math.ceil(origin.width);
  const height = Math.ceil(root.scrollHeight);
  whole.setAttribute("xmlns", SPACE);
  whole.setAttribute("width", String(width));
  whole.setAttribute("height", String(height));
  whole.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const ground = document.createElementNS(SPACE, "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", getComputedStyle(root).backgroundColor);
  whole.append(ground);
  const walk = (element: Element): void => {
    if (element instanceof SVGSVGElement) {
      const bounds = element.getBoundingClientRect();
      const copy = standalone(element);
      copy.setAttribute("x", String(bounds.left - origin.left));
      copy.setAttribute("y", String(bounds.top - origin.top));
      copy.setAttribute("width", String(bounds.width));
      copy.setAttribute("height", String(bounds.height));
      whole.append(copy);
      return;
    }
    if (element instanceof HTMLCanvasElement) {
      const bounds = element.getBoundingClientRect();
      const image = document.createElementNS(SPACE, "image");
      image.setAttribute("href", element.toDataURL());
      image.setAttribute("x", String(bounds.left - origin.left));
      image.setAttribute("y", String(bounds.top - origin.top));
      image.setAttribute("width", String(bounds.width));
      image.setAttribute("height", String(bounds.height));
      image.setAttribute("style", "image-rendering:pixelated");
      whole.append(image);
      return;
    }
    if (element.matches(".katex-mathml, details:not([open]) > :not(summary)")) return;
    if (element.children.length === 0) {
      if (element.textContent?.trim()) whole.append(textAt(element, origin));
      return;
    }
    for (const child of element.childNodes) {
      if (child instanceof Element) walk(child);
      else if (child.textContent?.trim()) {
        const range = document.createRange();
        range.selectNodeContents(child);
        const lines = [...range.getClientRects()];
        const bounds = lines[0];
        if (!bounds) continue;
        const style = getComputedStyle(element);
        const text = document.createElementNS(SPACE, "text");
        text.textContent = child.textContent;
        text.setAttribute("x", String(bounds.left - origin.left));
        text.setAttribute("y", String(bounds.top - origin.top + bounds.height * 0.5 + parseFloat(style.fontSize) * 0.36));
        text.setAttribute("style", `fill:${style.color};font:${style.fontWeight} ${style.fontSize} ${style.fontFamily}`);
        whole.append(text);
      }
    }
  };
  walk(root);
  return new XMLSerializer().serializeToString(whole);
}

/** The picture as PNG, at twice the size. */
export async function pngOf(root: HTMLElement): Promise<Blob> {
  const svg = pictureOf(root);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * 2;
  canvas.height = image.height * 2;
  const context = canvas.getContext("2d")!;
  context.scale(2, 2);
  context.drawImage(image, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((b) => (b ? resolve(b) : reject(new Error("no picture"))), "image/png"));
}

// The few signs on the buttons, as paths of 16 by 16.

const PATHS = {
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  play: "M5 3.2v9.6L12.5 8z",
  pause: "M5.2 3.5v9M10.8 3.5v9",
  next: "M5 3.5 10.5 8 5 12.5",
  previous: "M11 3.5 5.5 8 11 12.5",
  first: "M12 3.5 7 8l5 4.5M4 3.5v9",
  last: "M4 3.5 9 8l-5 4.5M12 3.5v9",
  over: "M2.5 8.5a5.5 5.5 0 0 1 10.6-2M13.5 3v3.7H9.8M8 12.5h.01",
  back: "M13.5 8.5a5.5 5.5 0 0 0-10.6-2M2.5 3v3.7h3.7M8 12.5h.01",
  into: "M8 2.5v7M5 6.8 8 9.8l3-3M4 13.5h8",
  stop: "M8 3.2a4.8 4.8 0 1 0 .01 0z",
  sun: "M8 5.2a2.8 2.8 0 1 0 .01 0zM8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  moon: "M12.8 9.8A5.5 5.5 0 0 1 6.2 3.2a5.5 5.5 0 1 0 6.6 6.6z",
  help: "M6 6a2 2 0 1 1 2.8 1.8c-.5.3-.8.7-.8 1.4M8 12h.01",
  tree: "M3 3.5h4M5 3.5v9M5 8h3M5 12.5h3M8.5 8H13M8.5 12.5H13",
  open: "M4.5 6 8 2.5 11.5 6M4.5 10 8 13.5 11.5 10",
  shut: "M4.5 2.5 8 6l3.5-3.5M4.5 13.5 8 10l3.5 3.5",
  picture: "M8 3v7M5 7.2 8 10.2l3-3M3.5 13h9",
  link: "M6.5 9.5 9.5 6.5M7 4.5l1.2-1.2a3 3 0 0 1 4.3 4.3L11.3 8.8M8.8 11.3l-1.2 1.2a3 3 0 0 1-4.2-4.2l1.2-1.3",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

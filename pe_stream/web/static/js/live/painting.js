// When canvases are painted: only what is on screen, only while the page is looked at.

const EVERY_MS = 32; // the picture moves about a pixel in that time
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** What is to be painted, and whether it is on screen. @type {Map<Element, {paint: Function, visible: boolean}>} */
const paintings = new Map();
let asked = 0;
let last = 0;

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const painting = paintings.get(target);
    if (painting) painting.visible = isIntersecting;
  }
  wake();
}, { rootMargin: "100px" });

/**
 * Call `paint(now)` for as long as `element` is on screen: over and over, or, for those who want less
 * motion, once after every `repaint()`.
 * @returns {() => void} ends it
 */
export function painting(element, paint) {
  paintings.set(element, { paint, visible: false });
  observer.observe(element);
  return () => {
    observer.unobserve(element);
    paintings.delete(element);
  };
}

/** Something new is there. */
export function repaint() {
  if (!asked && !document.hidden && anyVisible()) asked = requestAnimationFrame(tick);
}

/** For less motion: the picture moves by a hop at a time. */
export const isStill = () => still.matches;

const anyVisible = () => [...paintings.values()].some((one) => one.visible);

function wake() {
  last = 0;
  repaint();
}

function tick(now) {
  asked = 0;
  if (now - last >= EVERY_MS || isStill()) {
    last = now;
    for (const { paint, visible } of paintings.values()) if (visible) paint(now);
  }
  if (!isStill()) repaint();
}

document.addEventListener("visibilitychange", wake);
still.addEventListener("change", wake);

/** Keep a canvas as sharp as the screen, at most twofold. `onSize` is told the size in CSS pixels. */
export function sharp(canvas, onSize) {
  const resize = new ResizeObserver(([{ contentRect: { width, height } }]) => {
    if (!width || !height) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    onSize(width, height);
  });
  resize.observe(canvas);
  return () => resize.disconnect();
}

// When canvases are painted: only what is on screen, only while the page is looked at.
//
// A rolling picture is painted once per hop, somewhat wider than its window; in between, the browser
// moves it by itself, which costs next to nothing.

import { pen } from "../dom.js";
import { SHOWN_EVERY_MS } from "./heard.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** What is to be painted, and whether it is on screen. @type {Map<Element, {paint: Function, visible: boolean}>} */
const paintings = new Map();
let asked = 0;

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const known = paintings.get(target);
    if (known) known.visible = isIntersecting;
  }
  repaint();
}, { rootMargin: "100px" });

/**
 * Call `paint(now)` after every `repaint()` for as long as `element` is on screen, and when it comes there.
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
  if (!asked && !document.hidden) asked = requestAnimationFrame(tick);
}

function tick(now) {
  asked = 0;
  for (const { paint, visible } of paintings.values()) if (visible) paint(now);
}

/** @type {WeakMap<Element, Animation>} */
const rolls = new WeakMap();

/**
 * Let a picture roll on until its last frame is at the right of its window. Those who want less motion
 * see it there at once.
 * @param {HTMLElement} picture
 * @param {number} lag frames beyond the window
 * @param {number} perFrame pixels
 */
export function roll(picture, lag, perFrame) {
  rolls.get(picture)?.cancel();
  if (still.matches || lag <= 0) return;
  const from = { transform: `translateX(${lag * perFrame}px)` };
  rolls.set(picture, picture.animate([from, { transform: "none" }], { duration: lag * SHOWN_EVERY_MS }));
}

document.addEventListener("visibilitychange", repaint);

/** Keep a canvas as sharp as the screen, at most twofold. `onSize` is told the size in CSS pixels. */
export function sharp(canvas, onSize) {
  const resize = new ResizeObserver(([{ contentRect: { width, height } }]) => {
    if (!width || !height) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    pen(canvas).setTransform(ratio, 0, 0, ratio, 0, 0);
    onSize(width, height);
  });
  resize.observe(canvas);
  return () => resize.disconnect();
}

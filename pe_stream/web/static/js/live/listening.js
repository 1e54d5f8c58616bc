// Listening live to a source: one at a time, from an answer that has no end.

import { address } from "../api.js";
import { el, fill, icon } from "../dom.js";
import { changed, daemon, loadInfo } from "../daemon.js";
import { toast } from "../toasts.js";

/** Ends what plays at present. */
let stopOther = () => {};

/** @param {string} source */
export function listenButton(source, ends) {
  const button = el("button.quiet.listen", { type: "button", testid: "listen", onclick: () => (player ? stop() : start()) });
  /** @type {HTMLAudioElement|null} */
  let player = null;

  function show() {
    button.hidden = !daemon.info?.listen && !player;
    const words = player ? "Stop listening" : "Listen";
    fill(button, icon(player ? "stop" : "listen"), " ", words);
    button.setAttribute("aria-label", `${words} ${player ? "" : "live "}to ${source}`);
    button.classList.toggle("is-on", player !== null);
  }

  function start() {
    stopOther();
    const mine = new Audio(address(`sources/${encodeURIComponent(source)}/audio`));
    if (!mine.canPlayType('audio/ogg; codecs="opus"')) {
      toast("This browser does not play Opus in Ogg; Firefox and Chromium do, and Safari from 18.4 on.", { kind: "failed" });
      return;
    }
    player = mine;
    stopOther = stop;
    mine.addEventListener("ended", () => over(mine));
    mine.addEventListener("error", () => over(mine));
    mine.play().catch((error) => { if (error.name === "NotAllowedError") over(mine); });
    show();
  }

  function stop() {
    const mine = player;
    player = null;
    if (mine) {
      mine.pause();
      mine.removeAttribute("src");
      mine.load(); // or the connection stays
    }
    show();
  }

  /** It did not begin, or has come to an end: the answer itself does not say why. */
  async function over(mine) {
    if (mine !== player) return;
    stop();
    await loadInfo().catch(() => {});
    toast(daemon.info?.listen
      ? `Listening to ${source} has ended: pe_stream was stopped, or too many listen.`
      : `Listening to ${source} has ended: it is switched off.`, { kind: "failed" });
  }

  ends.add(stop, changed.info.on(show));
  show();
  return button;
}

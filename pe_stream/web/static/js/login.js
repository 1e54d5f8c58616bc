// The password, where one is set.

import { post } from "./api.js";
import { el, fill } from "./dom.js";

/**
 * @param {(session: object) => Promise<void>} onDone
 * @param {string} [words] why, or what for
 */
export function view(box, ends, onDone, words = "What this house hears is for those who live in it.") {
  const password = el("input", {
    type: "password", id: "password", name: "password", autocomplete: "current-password", required: true, testid: "password",
  });
  const problem = el("p.problem", { role: "alert", testid: "login-problem", id: "login-problem" });
  const button = el("button.primary", { type: "submit", testid: "login" }, "Log in");
  let waiting = 0;
  ends.add(() => clearInterval(waiting));

  /** Too many tries: say for how long, and count down on the button alone. */
  function pause(seconds) {
    let left = seconds;
    const tick = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Log in (in ${left} s)` : "Log in";
      if (left <= 0) clearInterval(waiting);
      left -= 1;
    };
    clearInterval(waiting);
    waiting = setInterval(tick, 1000);
    tick();
  }

  const form = el("form.card.login", {
    onsubmit: async (submit) => {
      submit.preventDefault();
      button.disabled = true;
      problem.textContent = "";
      try {
        await onDone(await post("session", { password: password.value }));
      } catch (error) {
        problem.textContent = error.message;
        button.disabled = false;
        password.setAttribute("aria-invalid", "true");
        if (error.status === 429) pause(error.retryAfterS ?? 10);
        password.focus();
        password.select();
      }
    },
  },
  // Password managers look for a user name; there is only one.
  el("input", { type: "text", name: "username", value: "pe_stream", autocomplete: "username", hidden: true }),
  el("h1", {}, "Log in"),
  el("p.muted", {}, words),
  el("label.field", { for: "password" }, "Password"), password, problem, button);
  password.setAttribute("aria-describedby", "login-problem");
  fill(box, form);
  password.focus();
  return "Log in";
}

// A list of listeners; and a bag that ends them all when a view is left.

export class Signal {
  #listeners = new Set();

  /** @returns {() => void} ends it */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  send(value) {
    for (const listener of [...this.#listeners]) listener(value);
  }
}

/** What a view has to end when it is left. */
export class Ends {
  #ends = [];
  #ended = false;

  add(...ends) {
    if (this.#ended) for (const end of ends) end();
    else this.#ends.push(...ends);
  }

  get ended() {
    return this.#ended;
  }

  end() {
    this.#ended = true;
    for (const end of this.#ends.splice(0)) end();
  }
}

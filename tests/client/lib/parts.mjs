// Shared parts of the client's tests.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as after } from "node:timers/promises";

/** Short intervals; timeouts that could pass on a busy machine stay long. */
export const QUICK = {
  silentMs: 20_000,
  openingMs: 20_000,
  retryMs: 20,
  maxRetryMs: 100,
  restreamMs: 250,
  pollMs: 20,
};

/** Wait until a condition holds. */
export async function until(condition, ms = 20_000) {
  const end = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > end)
      throw new Error(`The condition did not hold in time: ${condition}`);
    await after(5);
  }
}

/** A tab that can be hidden. */
export class Tab extends EventTarget {
  hidden = false;

  hide(hidden) {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

/** A proxy whose connections can be cut. */
export class CuttableProxy {
  #sockets = new Set();
  #server;

  async start(port) {
    this.#server = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      for (const [from, to] of [
        [near, far],
        [far, near],
      ]) {
        this.#sockets.add(from);
        from.on("error", () => {});
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  get connections() {
    return this.#sockets.size / 2;
  }

  cut() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async stop() {
    this.#server.close();
    this.cut();
  }
}

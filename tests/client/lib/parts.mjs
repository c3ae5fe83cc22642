// What the tests of the client share.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as after } from "node:timers/promises";

/** Waits that a test can afford; what would be given up too early on a busy machine is not. */
export const QUICK = {
  silentMs: 20_000,
  openingMs: 20_000,
  retryMs: 20,
  maxRetryMs: 100,
  restreamMs: 250,
  pollMs: 20,
};

/** Until it is so; what it waits for is seen in a few milliseconds or not at all. */
export async function until(isSo, ms = 20_000) {
  const end = performance.now() + ms;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`It did not come to pass: ${isSo}`);
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

/** A line that can be cut. */
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

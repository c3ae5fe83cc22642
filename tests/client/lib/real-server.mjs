// `evalqueue serve` itself, as a process that can be killed.
import { spawn } from "node:child_process";
import { once } from "node:events";

export class RealServer {
  #process = null;
  #port = 0;
  url = "";

  async start(environment = {}) {
    const [command, ...first] = JSON.parse(process.env.EVALQUEUE_COMMAND);
    const serving = spawn(command, [...first, "serve", "--port", String(this.#port)], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...environment },
    });
    this.#process = serving;
    let output = "";
    for await (const text of serving.stdout.setEncoding("utf8")) {
      output += text;
      if (output.includes("\n")) break;
    }
    this.url = /API on (\S+)/.exec(output)?.[1] ?? "";
    if (!this.url) throw new Error(`The server printed: ${output}`);
    this.#port = Number(new URL(this.url).port);
    return this;
  }

  /** Send a signal, and wait until the process has ended. */
  async stop(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill(signal);
    await exited;
  }
}

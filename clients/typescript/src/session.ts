// Who a page is to the API. Programs have a token and need no session.
import type { Abortable } from "./jobs.js";
import type { Line } from "./line.js";
import type { Session } from "./types.js";

export interface SessionApi {
  /** Rejects with 401 where a token is needed and none was given. */
  get(options?: Abortable): Promise<Session>;
  /** From then on the browser's cookie says who this is; the page need not keep the token. */
  signIn(token: string, options?: Abortable): Promise<Session>;
  signOut(options?: Abortable): Promise<void>;
}

const PATH = "/api/session";

export function session(line: Line): SessionApi {
  return {
    get: ({ signal } = {}) => line.ask(PATH, { signal }),
    signIn: (token, { signal } = {}) => line.ask(PATH, { method: "POST", body: { token }, signal }),
    async signOut({ signal } = {}) {
      await line.ask(PATH, { method: "DELETE", signal });
    },
  };
}

// The session of a page. Programs have a token and need no session.
import type { Abortable } from "./jobs.js";
import type { Transport } from "./transport.js";
import type { Session } from "./types.js";

export interface SessionApi {
  /** Rejects with 401 where a token is needed and none was given. */
  get(options?: Abortable): Promise<Session>;
  /** The browser then has a session cookie; the page need not keep the token. */
  signIn(token: string, options?: Abortable): Promise<Session>;
  signOut(options?: Abortable): Promise<void>;
}

const PATH = "/api/session";

export function session(transport: Transport): SessionApi {
  return {
    get: ({ signal } = {}) => transport.request(PATH, { signal }),
    signIn: (token, { signal } = {}) =>
      transport.request(PATH, { method: "POST", body: { token }, signal }),
    async signOut({ signal } = {}) {
      await transport.request(PATH, { method: "DELETE", signal });
    },
  };
}

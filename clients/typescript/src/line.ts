// The line to the API: addresses, token, JSON there and back, errors.
import { ApiError, refusal } from "./errors.js";

/** Where the API is, and how it is spoken to. */
export interface ClientOptions {
  /** Default: the page's origin; outside of a browser http://127.0.0.1:8721. */
  baseUrl?: string | undefined;
  /** Sent as `Authorization: Bearer …`. A page that has signed in needs none. */
  token?: string | undefined;
  /** Default: the global one. */
  fetch?: typeof fetch | undefined;
}

export interface Asked {
  method?: "GET" | "POST" | "DELETE";
  /** Undefined and null are left out; lists are repeated. */
  query?: object | undefined;
  /** Sent as JSON, unless it is a form. */
  body?: unknown;
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
}

const DEFAULT_URL = "http://127.0.0.1:8721";

export class Line {
  readonly #baseUrl: string | undefined;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch | undefined;

  constructor({ baseUrl, token, fetch }: ClientOptions = {}) {
    this.#baseUrl = baseUrl?.replace(/\/+$/, "");
    this.#token = token;
    this.#fetch = fetch;
  }

  /** Whether requests are made by something other than the platform's own fetch. */
  get isCustom(): boolean {
    return this.#fetch !== undefined;
  }

  /** The JSON that is told; throws an ApiError, or what the signal was aborted with. */
  async ask<Told>(path: string, asked: Asked = {}): Promise<Told> {
    const reply = await this.send(path, asked);
    const text = await this.#read(reply, asked.signal);
    if (!reply.ok) throw refusal(reply.status, reply.statusText, reply.headers, text);
    return parsed<Told>(reply.status, text);
  }

  /** The reply as it comes, for those who read it piece by piece. */
  async send(
    path: string,
    { method = "GET", query, body, headers, signal }: Asked,
  ): Promise<Response> {
    const isForm = typeof FormData !== "undefined" && body instanceof FormData;
    const isJson = body !== undefined && !isForm;
    const init: RequestInit = {
      method,
      headers: {
        Accept: "application/json",
        ...(isJson ? { "Content-Type": "application/json" } : {}),
        ...this.authorization(),
        ...headers,
      },
    };
    if (body !== undefined) init.body = isForm ? (body as FormData) : JSON.stringify(body);
    if (signal) init.signal = signal;
    const send = this.#fetch ?? globalThis.fetch;
    try {
      return await send(this.url(path, query), init);
    } catch (error) {
      throw unreachable(error, signal);
    }
  }

  url(path: string, query: object = {}): string {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== undefined && each !== null) given.append(name, String(each));
      }
    }
    const asked = given.toString();
    return `${this.#baseUrl ?? defaultUrl()}${path}${asked && `?${asked}`}`;
  }

  authorization(): Record<string, string> {
    return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  async #read(reply: Response, signal: AbortSignal | undefined): Promise<string> {
    try {
      return await reply.text();
    } catch (error) {
      throw unreachable(error, signal);
    }
  }
}

/** A piece of a path that is somebody's text. */
export function piece(text: string | number): string {
  // "." and ".." would be taken for steps, however they are written.
  return encodeURIComponent(text).replace(/^\.{1,2}$/, (dots) => dots.replaceAll(".", "%252E"));
}

export function parsed<Told>(status: number, text: string): Told {
  try {
    return JSON.parse(text) as Told;
  } catch (cause) {
    throw new ApiError(status, "The answer is not JSON: is this the address of the API?", {
      cause,
    });
  }
}

export function unreachable(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return new ApiError(0, "The server can't be reached", { cause: error });
}

function defaultUrl(): string {
  const origin = globalThis.location?.origin;
  return origin?.startsWith("http") ? origin : DEFAULT_URL;
}

// HTTP requests to the API: URL, token, JSON bodies, errors.
import { ApiError, responseError } from "./errors.js";

/** The address of the API, and how requests to it are made. */
export interface ClientOptions {
  /**
   * http or https; on a page also a path of its origin. Default: the page's origin; outside of a
   * browser http://127.0.0.1:8721.
   */
  baseUrl?: string | undefined;
  /** Sent as `Authorization: Bearer …`. A page that has signed in needs none. */
  token?: string | undefined;
  /** Default: the global one. */
  fetch?: typeof fetch | undefined;
}

/** Options of one request. */
export interface RequestOptions {
  method?: "GET" | "POST" | "DELETE";
  /** Undefined and null are omitted; a list is one parameter for each of its items. */
  query?: object | undefined;
  /** Sent as JSON, unless it is a FormData. */
  body?: unknown;
  headers?: Readonly<Record<string, string>>;
  /** Whether the request outlives the page that makes it. */
  keepalive?: boolean;
  signal?: AbortSignal | undefined;
}

const DEFAULT_URL = "http://127.0.0.1:8721";

export class Transport {
  readonly #baseUrl: string | undefined;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch | undefined;

  constructor({ baseUrl, token, fetch }: ClientOptions = {}) {
    this.#baseUrl = baseUrl === undefined ? undefined : address(baseUrl);
    this.#token = token;
    this.#fetch = fetch;
  }

  /** Whether requests are made by another function than the platform's `fetch`. */
  get hasCustomFetch(): boolean {
    return this.#fetch !== undefined;
  }

  /** The JSON of the response. Throws an ApiError, or the signal's reason. */
  async request<Result>(path: string, options: RequestOptions = {}): Promise<Result> {
    const response = await this.send(path, options);
    const text = await this.#read(response, options.signal);
    if (!response.ok) throw responseError(response, text);
    return parseJson<Result>(response.status, text);
  }

  /** The response, whatever its status, with its body unread. */
  async send(
    path: string,
    { method = "GET", query, body, headers, keepalive, signal }: RequestOptions,
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
    if (keepalive) init.keepalive = true;
    if (signal) init.signal = signal;
    const send = this.#fetch ?? globalThis.fetch;
    try {
      return await send(this.url(path, query), init);
    } catch (error) {
      throw connectionError(error, signal);
    }
  }

  url(path: string, query: object = {}): string {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== undefined && each !== null) parameters.append(name, String(each));
      }
    }
    const search = parameters.toString();
    return `${this.#baseUrl ?? defaultUrl()}${path}${search && `?${search}`}`;
  }

  authorization(): Record<string, string> {
    return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
  }

  async #read(response: Response, signal: AbortSignal | undefined): Promise<string> {
    try {
      return await response.text();
    } catch (error) {
      throw connectionError(error, signal);
    }
  }
}

/** Any text as one segment of a path. Throws a TypeError if there is none. */
export function pathSegment(text: string | number): string {
  // Without it the request would be another one, such as for the list.
  if (text === "" || text === undefined || text === null) throw new TypeError("The id is empty");
  // "." and ".." would be resolved as relative segments, even when they are escaped once.
  return encodeURIComponent(text).replace(/^\.{1,2}$/, (dots) => dots.replaceAll(".", "%252E"));
}

/** Throws an ApiError if the text is not JSON. */
export function parseJson<Result>(status: number, text: string): Result {
  try {
    return JSON.parse(text) as Result;
  } catch (cause) {
    throw new ApiError(status, "The response is not JSON: is this the address of the API?", {
      cause,
    });
  }
}

/** The error of a request without a response: an ApiError, or the signal's reason. */
export function connectionError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return new ApiError(0, "The server can't be reached", { cause: error });
}

/** A `baseUrl` without slashes at its end. Throws a TypeError if it is none. */
function address(baseUrl: string): string {
  const origin = globalThis.location?.origin;
  const base = origin?.startsWith("http") ? origin : undefined;
  const url = URL.canParse(baseUrl, base) ? new URL(baseUrl, base) : null;
  if (!url || !["http:", "https:"].includes(url.protocol) || url.search || url.hash) {
    throw new TypeError(
      `baseUrl: ${JSON.stringify(baseUrl)} is not the address of a server, such as ${DEFAULT_URL}`,
    );
  }
  return baseUrl.trim().replace(/(?<!\/)\/+$/, "");
}

function defaultUrl(): string {
  const origin = globalThis.location?.origin;
  return origin?.startsWith("http") ? origin : DEFAULT_URL;
}

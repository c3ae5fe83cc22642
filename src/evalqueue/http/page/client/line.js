// The line to the API: addresses, token, JSON there and back, errors.
import { ApiError, refusal } from "./errors.js";
const DEFAULT_URL = "http://127.0.0.1:8721";
export class Line {
    #baseUrl;
    #token;
    #fetch;
    constructor({ baseUrl, token, fetch } = {}) {
        this.#baseUrl = baseUrl?.replace(/\/+$/, "");
        this.#token = token;
        this.#fetch = fetch;
    }
    /** Whether requests are made by something other than the platform's own fetch. */
    get isCustom() {
        return this.#fetch !== undefined;
    }
    /** The JSON that is told; throws an ApiError, or what the signal was aborted with. */
    async ask(path, asked = {}) {
        const reply = await this.send(path, asked);
        const text = await this.#read(reply, asked.signal);
        if (!reply.ok)
            throw refusal(reply.status, reply.statusText, reply.headers, text);
        return parsed(reply.status, text);
    }
    /** The reply as it comes, for those who read it piece by piece. */
    async send(path, { method = "GET", query, body, headers, signal }) {
        const isForm = typeof FormData !== "undefined" && body instanceof FormData;
        const isJson = body !== undefined && !isForm;
        const init = {
            method,
            headers: {
                Accept: "application/json",
                ...(isJson ? { "Content-Type": "application/json" } : {}),
                ...this.authorization(),
                ...headers,
            },
        };
        if (body !== undefined)
            init.body = isForm ? body : JSON.stringify(body);
        if (signal)
            init.signal = signal;
        const send = this.#fetch ?? globalThis.fetch;
        try {
            return await send(this.url(path, query), init);
        }
        catch (error) {
            throw unreachable(error, signal);
        }
    }
    url(path, query = {}) {
        const given = new URLSearchParams();
        for (const [name, value] of Object.entries(query)) {
            for (const each of Array.isArray(value) ? value : [value]) {
                if (each !== undefined && each !== null)
                    given.append(name, String(each));
            }
        }
        const asked = given.toString();
        return `${this.#baseUrl ?? defaultUrl()}${path}${asked && `?${asked}`}`;
    }
    authorization() {
        return this.#token === undefined ? {} : { Authorization: `Bearer ${this.#token}` };
    }
    async #read(reply, signal) {
        try {
            return await reply.text();
        }
        catch (error) {
            throw unreachable(error, signal);
        }
    }
}
/** A piece of a path that is somebody's text. */
export function piece(text) {
    // "." and ".." would be taken for steps, however they are written.
    return encodeURIComponent(text).replace(/^\.{1,2}$/, (dots) => dots.replaceAll(".", "%252E"));
}
export function parsed(status, text) {
    try {
        return JSON.parse(text);
    }
    catch (cause) {
        throw new ApiError(status, "The answer is not JSON: is this the address of the API?", {
            cause,
        });
    }
}
export function unreachable(error, signal) {
    if (signal?.aborted)
        return signal.reason;
    return new ApiError(0, "The server can't be reached", { cause: error });
}
function defaultUrl() {
    const origin = globalThis.location?.origin;
    return origin?.startsWith("http") ? origin : DEFAULT_URL;
}

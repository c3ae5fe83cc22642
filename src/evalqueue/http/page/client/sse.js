// A parser for server-sent events, as in the HTML standard, which takes text in any chunks.
/** The most characters of one event. */
export const MAX_EVENT = 32 * 1024 * 1024;
export class EventTooLarge extends Error {
}
export class EventParser {
    /** The id of the last event that had one, for reconnecting. */
    lastEventId;
    /** Milliseconds to wait before reconnecting, if the server sent them. */
    retryMs = null;
    #line = [];
    #data = [];
    #id;
    #type = "";
    #size = 0;
    #afterCr = false;
    #isFirst = true;
    constructor(lastEventId = "") {
        this.lastEventId = this.#id = lastEventId;
    }
    /** The events that are complete with this text. */
    *push(text) {
        let chunk = text;
        if (this.#isFirst && chunk !== "") {
            this.#isFirst = false;
            if (chunk.startsWith("\uFEFF"))
                chunk = chunk.slice(1);
        }
        let start = 0;
        for (const { index, 0: end } of chunk.matchAll(/\r\n|\r|\n/g)) {
            const isRestOfCrLf = index === 0 && end === "\n" && this.#afterCr;
            if (!isRestOfCrLf) {
                this.#line.push(chunk.slice(start, index));
                const event = this.#take(this.#line.join(""));
                this.#line = [];
                if (event)
                    yield event;
            }
            start = index + end.length;
        }
        if (chunk !== "")
            this.#afterCr = chunk.endsWith("\r");
        const rest = chunk.slice(start);
        if (rest !== "")
            this.#line.push(rest);
        this.#size += rest.length;
        if (this.#size > MAX_EVENT)
            throw new EventTooLarge("An event of the server is too large");
    }
    #take(line) {
        if (line === "")
            return this.#dispatch();
        const colon = line.indexOf(":");
        if (colon === 0)
            return null; // a heartbeat
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        if (field === "data") {
            this.#data.push(value);
            this.#size += value.length;
        }
        else if (field === "event") {
            this.#type = value;
        }
        else if (field === "id" && !value.includes("\0")) {
            this.#id = value;
        }
        else if (field === "retry" && /^\d+$/.test(value)) {
            this.retryMs = Number(value);
        }
        return null;
    }
    #dispatch() {
        this.lastEventId = this.#id;
        const event = {
            type: this.#type || "message",
            data: this.#data.join("\n"),
        };
        const isEmpty = this.#data.length === 0;
        this.#data = [];
        this.#type = "";
        this.#size = 0;
        return isEmpty ? null : event;
    }
}

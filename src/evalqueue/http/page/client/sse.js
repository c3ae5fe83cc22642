// Server-sent events, as the HTML standard has them, out of text that comes in any pieces.
/** Characters that an event may have; more is a server gone mad. */
export const MAX_EVENT = 32 * 1024 * 1024;
export class TooLarge extends Error {
}
export class EventParser {
    /** Of the last event that had one: what to go on after. */
    lastEventId;
    /** How long to wait before reconnecting, as the server wants it. */
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
    /** The events that are whole with this piece. */
    *push(text) {
        let piece = text;
        if (this.#isFirst && piece !== "") {
            this.#isFirst = false;
            if (piece.startsWith("\uFEFF"))
                piece = piece.slice(1);
        }
        let start = 0;
        for (const { index, 0: end } of piece.matchAll(/\r\n|\r|\n/g)) {
            const isRestOfCrLf = index === 0 && end === "\n" && this.#afterCr;
            if (!isRestOfCrLf) {
                this.#line.push(piece.slice(start, index));
                const event = this.#take(this.#line.join(""));
                this.#line = [];
                if (event)
                    yield event;
            }
            start = index + end.length;
        }
        if (piece !== "")
            this.#afterCr = piece.endsWith("\r");
        const rest = piece.slice(start);
        if (rest !== "")
            this.#line.push(rest);
        this.#size += rest.length;
        if (this.#size > MAX_EVENT)
            throw new TooLarge("An event of the server is too large");
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
        const event = { type: this.#type || "message", data: this.#data.join("\n") };
        const isEmpty = this.#data.length === 0;
        this.#data = [];
        this.#type = "";
        this.#size = 0;
        return isEmpty ? null : event;
    }
}

/** The API said no, or could not be asked. */
export class ApiError extends Error {
    name = "ApiError";
    /** The HTTP status; 0: there was no answer. */
    status;
    /** What it said, in words. */
    detail;
    /** Everything that is wrong with the request, each with its place; empty unless it was 422. */
    problems;
    /** Seconds after which to ask again, where the server said so. */
    retryAfter;
    constructor(status, detail, more = {}) {
        super(detail, more.cause === undefined ? undefined : { cause: more.cause });
        this.status = status;
        this.detail = detail;
        this.problems = more.problems ?? [];
        this.retryAfter = more.retryAfter ?? null;
    }
    /** Whether the same request may well be answered later. */
    get isTransient() {
        return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
    }
}
/** What an answer that is an error says. */
export function refusal(status, statusText, headers, body) {
    const retryAfter = seconds(headers.get("retry-after"));
    const detail = detailOf(body);
    if (Array.isArray(detail)) {
        const problems = detail.filter(isProblem);
        const words = problems.map(({ loc, msg }) => `${loc.join(".")}: ${msg}`).join("\n");
        return new ApiError(status, words || statusText, { problems, retryAfter });
    }
    const words = typeof detail === "string" && detail ? detail : `${status} ${statusText}`.trim();
    return new ApiError(status, words, { retryAfter });
}
/** `Retry-After` is a number of seconds or a date. */
export function seconds(given) {
    if (given === null || given.trim() === "")
        return null;
    const number = Number(given);
    if (Number.isFinite(number))
        return Math.max(0, number);
    const moment = Date.parse(given);
    return Number.isNaN(moment) ? null : Math.max(0, (moment - Date.now()) / 1000);
}
function detailOf(body) {
    try {
        const value = JSON.parse(body);
        return typeof value === "object" && value !== null && "detail" in value ? value.detail : null;
    }
    catch {
        return null; // a proxy's page, say
    }
}
function isProblem(value) {
    return (typeof value === "object" &&
        value !== null &&
        "loc" in value &&
        Array.isArray(value.loc) &&
        "msg" in value &&
        typeof value.msg === "string");
}

// ApiError, and how it is made from a response.
import type { Problem } from "./types.js";

/** The API rejected a request, or could not be reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  /** The HTTP status; 0: no response. */
  readonly status: number;

  /** The reason, as text. */
  readonly detail: string;

  /** Every invalid field of the request; empty unless the status is 422. */
  readonly problems: readonly Problem[];

  /** Seconds until the next request should be made; null if the server did not say. */
  readonly retryAfter: number | null;

  constructor(
    status: number,
    detail: string,
    details: {
      problems?: readonly Problem[];
      retryAfter?: number | null;
      cause?: unknown;
    } = {},
  ) {
    super(detail, details.cause === undefined ? undefined : { cause: details.cause });
    this.status = status;
    this.detail = detail;
    this.problems = details.problems ?? [];
    this.retryAfter = details.retryAfter ?? null;
  }

  /** Whether the same request may succeed later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** The parts of a `Response` from which an error is made. */
export type ErrorResponse = Pick<Response, "status" | "statusText" | "headers">;

/** The error of a response whose status is an error. */
export function responseError(response: ErrorResponse, body: string): ApiError {
  const { status, statusText, headers } = response;
  const retryAfter = retryAfterSeconds(headers.get("retry-after"));
  const detail = detailOf(body);
  if (Array.isArray(detail)) {
    const problems = detail.filter(isProblem);
    const text = problems.map(({ loc, msg }) => `${loc.join(".")}: ${msg}`).join("\n");
    return new ApiError(status, text || statusText, { problems, retryAfter });
  }
  const text = typeof detail === "string" && detail ? detail : `${status} ${statusText}`.trim();
  return new ApiError(status, text, { retryAfter });
}

/** The seconds of a `Retry-After` header, which is a number of seconds or a date. */
function retryAfterSeconds(value: string | null): number | null {
  if (value === null || value.trim() === "") return null;
  const number = Number(value);
  if (Number.isFinite(number)) return Math.max(0, number);
  const moment = Date.parse(value);
  return Number.isNaN(moment) ? null : Math.max(0, (moment - Date.now()) / 1000);
}

function detailOf(body: string): unknown {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null && "detail" in value ? value.detail : null;
  } catch {
    return null; // such as the error page of a proxy
  }
}

function isProblem(value: unknown): value is Problem {
  return (
    typeof value === "object" &&
    value !== null &&
    "loc" in value &&
    Array.isArray(value.loc) &&
    "msg" in value &&
    typeof value.msg === "string"
  );
}

// Alerts: messages when something changes.
import type { Abortable } from "./jobs.js";
import { pathSegment, type Transport } from "./transport.js";
import type * as types from "./types.js";

export interface ListAlerts extends Abortable {
  /** Only those that fire, or only the others. */
  firing?: boolean | undefined;
  limit?: number | undefined;
}

export interface AlertsApi {
  /** Alerts, those that fire first. */
  list(options?: ListAlerts): Promise<types.Alerts>;
  add(
    alert: Partial<types.AddAlert> & { name: string; watches: types.Watched },
    options?: Abortable,
  ): Promise<types.Alert>;
  remove(alertId: string, options?: Abortable): Promise<types.RemovedAlert>;
  /** Send a test message to the webhook of an alert. */
  test(alertId: string, options?: Abortable): Promise<types.TestedAlert>;
}

export function alerts(transport: Transport): AlertsApi {
  const root = "/api/alerts";
  return {
    list: ({ signal, ...query } = {}) => transport.request(root, { query, signal }),
    add: (body, { signal } = {}) => transport.request(root, { method: "POST", body, signal }),
    remove: (alertId, { signal } = {}) =>
      transport.request(`${root}/${pathSegment(alertId)}`, { method: "DELETE", signal }),
    test: (alertId, { signal } = {}) =>
      transport.request(`${root}/${pathSegment(alertId)}/test`, { method: "POST", signal }),
  };
}
